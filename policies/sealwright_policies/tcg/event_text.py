"""What an event says, for people and for JSON. Best effort: it never fails, and no rule depends on it."""

from __future__ import annotations

import string
from typing import Any

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg import events
from sealwright_policies.tcg.device_path import device_path_text
from sealwright_policies.tcg.eventlog import SPEC_ID_EVENT_03, STARTUP_LOCALITY, Event, EventType

MAX_HEX = 64
"""Bytes of a value shown in hexadecimal before it is cut; the whole data is in the event itself."""

MAX_TEXT = 4096

_SIGNATURE_SIZE = 16
"""Bytes of the text, 'SP800-155 Event' say, by which EV_NO_ACTION events of the profile are told apart (10.4.5)."""

_DER_CERTIFICATE = b"\x30\x82"
"""With this some versions of shim begin an authority, instead of with the GUID of its owner."""

_SIGNATURE_LIST_VARIABLES = frozenset({"PK", "KEK", "db", "dbx", "dbt", "dbr"})
_AUTHORITIES = frozenset({"db", "MokList", "MokListRT", "Shim", "vendor_db"})
"""Variables whose entry let an image start; others, like shim's SbatLevel, are text."""

_PRINTABLE = frozenset(string.printable) - frozenset("\x0b\x0c\r")
_LINUX_TAGS = {events.LINUX_INITRD_TAG: "initrd", events.LINUX_LOAD_OPTIONS_TAG: "load options"}


def describe_event(event: Event) -> dict[str, Any]:
    """Return what the data of an event says as JSON-ready values; ``unreadable`` tells why it could not be read."""
    try:
        return _describe(event)
    except FormatError as error:
        return {"unreadable": str(error)}


def _describe(event: Event) -> dict[str, Any]:
    match event.type:
        case EventType.EV_NO_ACTION:
            return _no_action(event.data)
        case (
            EventType.EV_EFI_VARIABLE_DRIVER_CONFIG
            | EventType.EV_EFI_VARIABLE_BOOT
            | EventType.EV_EFI_VARIABLE_BOOT2
            | EventType.EV_EFI_VARIABLE_AUTHORITY
        ):
            return _variable(event)
        case (
            EventType.EV_EFI_BOOT_SERVICES_APPLICATION
            | EventType.EV_EFI_BOOT_SERVICES_DRIVER
            | EventType.EV_EFI_RUNTIME_SERVICES_DRIVER
        ):
            image = events.parse_image_load(event.data)
            return {"device_path": image.device_path_text, "length": image.length, "location": image.location}
        case EventType.EV_EFI_GPT_EVENT | EventType.EV_EFI_GPT_EVENT2:
            return _partition_table(event.data)
        case EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB:
            return _firmware_blob(events.parse_firmware_blob(event.data))
        case EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2:
            return _firmware_blob(events.parse_firmware_blob2(event.data))
        case EventType.EV_EVENT_TAG:
            tagged = events.parse_tagged_event(event.data)
            said = {"tag": f"{tagged.tag:#010x}", **text_or_hex(tagged.data)}
            return said if tagged.tag not in _LINUX_TAGS else {**said, "meaning": _LINUX_TAGS[tagged.tag]}
        case EventType.EV_SEPARATOR:
            return {"error": True} if event.data == b"\x01\0\0\0" else text_or_hex(event.data)
        case _:
            return text_or_hex(event.data)


def text_or_hex(data: bytes) -> dict[str, Any]:
    """Return ``{"text": …}`` if the bytes are printable UTF-8 or UTF-16, else ``{"hex": …}``, cut to a sane length."""
    for encoding, width in (("utf-8", 1), ("utf-16-le", 2)):
        try:
            # systemd-boot ends UTF-16 with a single zero byte more.
            text = data[: len(data) - len(data) % width].decode(encoding).rstrip("\0")
        except UnicodeDecodeError:
            continue
        if text and all(character.isprintable() or character in _PRINTABLE for character in text):
            if encoding == "utf-16-le" and not any(character in _PRINTABLE for character in text):
                continue  # nearly any bytes are some UTF-16; demand a character that firmware would write
            return {"text": text[:MAX_TEXT]}
    return _hex(data)


def _hex(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    return {"hex": data.hex()} if len(data) <= MAX_HEX else {"hex": data[:MAX_HEX].hex() + "...", "size": len(data)}


def _no_action(data: bytes) -> dict[str, Any]:
    if data.startswith(STARTUP_LOCALITY) and len(data) == len(STARTUP_LOCALITY) + 1:
        return {"startup_locality": data[-1]}
    if data.startswith(SPEC_ID_EVENT_03):
        return {"text": "Spec ID Event03"}
    signature = data[:_SIGNATURE_SIZE].rstrip(b"\0")
    if len(data) > _SIGNATURE_SIZE and signature.isascii() and signature.decode("ascii").isprintable():
        return {"signature": signature.decode("ascii"), **text_or_hex(data[_SIGNATURE_SIZE:])}
    return text_or_hex(data)


def _variable(event: Event) -> dict[str, Any]:
    variable, rest = events.split_uefi_variable(event.data)
    said: dict[str, Any] = {"vendor": variable.vendor, "name": variable.name}
    if rest:
        said["bytes_behind"] = len(rest)
    if event.type is EventType.EV_EFI_VARIABLE_AUTHORITY:
        if variable.name not in _AUTHORITIES:
            return {**said, **text_or_hex(variable.data)}
        if variable.data.startswith(_DER_CERTIFICATE):
            return {**said, "size": len(variable.data)}
        entry = events.parse_signature_data(variable.data)
        return {**said, "owner": entry.owner, "size": len(entry.data)}
    if variable.name in _SIGNATURE_LIST_VARIABLES:
        lists = events.parse_signature_lists(variable.data)
        return {**said, "signature_lists": [{"type": each.type, "entries": len(each.entries)} for each in lists]}
    if variable.name.startswith("Boot") and len(variable.name) == len("Boot0000"):
        return {**said, **_load_option(variable.data)}
    return {**said, **_hex(variable.data)}


def _load_option(data: bytes) -> dict[str, Any]:
    """EFI_LOAD_OPTION (UEFI 3.1.3): attributes, length of the paths, description, paths, optional data."""
    path_length = int.from_bytes(data[4:6], "little")
    end = 6
    while data[end : end + 2] not in (b"\0\0", b""):
        end += 2
    description = data[6:end].decode("utf-16-le", "replace")
    return {"description": description, "device_path": device_path_text(data[end + 2 : end + 2 + path_length])}


def _partition_table(data: bytes) -> dict[str, Any]:
    table = events.parse_gpt_event(data)
    return {
        "disk": table.disk,
        "partitions": [
            {
                "name": each.name,
                "type": each.type,
                "id": each.identifier,
                "first": each.first_lba,
                "last": each.last_lba,
            }
            for each in table.partitions
        ],
    }


def _firmware_blob(blob: events.FirmwareBlob) -> dict[str, Any]:
    said: dict[str, Any] = {"base": blob.base, "length": blob.length}
    return {**said, "description": blob.description} if blob.description else said
