"""Data of boot events."""

from __future__ import annotations

import struct
import uuid

import pytest

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg import events
from sealwright_policies.tcg.device_path import device_path_text
from sealwright_policies.tcg.event_text import describe_event
from sealwright_policies.tcg.eventlog import Event, EventType

GLOBAL = uuid.UUID(events.EFI_GLOBAL_VARIABLE).bytes_le
OWNER = uuid.UUID("a0baa8a3-041d-48a8-bc87-c36d121b5e3d").bytes_le


def variable(name: str, data: bytes, vendor: bytes = GLOBAL) -> bytes:
    return vendor + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def node(kind: int, subkind: int, data: bytes) -> bytes:
    return struct.pack("<BBH", kind, subkind, 4 + len(data)) + data


END = node(0x7F, 0xFF, b"")
DISK = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BOOT_PATH = (
    node(2, 1, struct.pack("<II", 0x0A0341D0, 0))
    + node(1, 1, b"\x00\x04")
    + node(3, 0x17, struct.pack("<I", 1) + bytes(8))
    + node(4, 1, struct.pack("<IQQ", 1, 0x800, 0x80000) + DISK.bytes_le + b"\x02\x02")
    + node(4, 4, "\\EFI\\BOOT\\BOOTX64.EFI\0".encode("utf-16-le"))
    + END
)


def test_a_variable() -> None:
    parsed = events.parse_uefi_variable(variable("SecureBoot", b"\1"))
    assert parsed == events.UefiVariable(events.EFI_GLOBAL_VARIABLE, "SecureBoot", b"\1")


@pytest.mark.parametrize(
    "data",
    [
        variable("db", b"x") + b"\0",
        GLOBAL + struct.pack("<QQ", 1 << 40, 0),
        GLOBAL + struct.pack("<QQ", 1, 1 << 63) + b"a\0",
        GLOBAL + struct.pack("<QQ", 1, 0) + b"\0\xd8",
    ],
)
def test_a_variable_that_lies_about_itself(data: bytes) -> None:
    """Trailing bytes, lengths beyond the data, and a name that is no UTF-16."""
    with pytest.raises(FormatError):
        events.parse_uefi_variable(data)


def test_signature_lists() -> None:
    """A list of two SHA-256 hashes and a list of one certificate."""
    hashes = b"".join(OWNER + bytes((i,)) * 32 for i in range(2))
    first = uuid.UUID(events.EFI_CERT_SHA256).bytes_le + struct.pack("<III", 28 + len(hashes), 0, 48) + hashes
    certificate = OWNER + b"certificate"
    second = uuid.UUID(events.EFI_CERT_X509).bytes_le + struct.pack("<III", 28 + 27, 0, 27) + certificate
    lists = events.parse_signature_lists(first + second)
    assert [each.type for each in lists] == [events.EFI_CERT_SHA256, events.EFI_CERT_X509]
    assert [entry.data for entry in lists[0].entries] == [bytes(32), b"\1" * 32]
    assert lists[1].entries[0] == events.SignatureEntry(str(uuid.UUID(bytes_le=OWNER)), b"certificate")
    assert events.parse_signature_lists(b"") == ()


@pytest.mark.parametrize(
    "sizes", [(27, 0, 48), (28 + 47, 0, 48), (28, 0, 0), (28, 0, 16), (28, 1, 48), (0xFFFFFFFF, 0, 17)]
)
def test_signature_lists_with_impossible_sizes(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(FormatError):
        events.parse_signature_lists(bytes(16) + struct.pack("<III", *sizes) + bytes(47))


def test_signature_lists_without_end() -> None:
    """A million entries of one byte each would fill the memory."""
    count = events.MAX_SIGNATURES + 1
    body = bytes(16) + struct.pack("<III", 28 + 17 * count, 0, 17) + bytes(17 * count)
    with pytest.raises(FormatError):
        events.parse_signature_lists(body)


def test_a_boot_path_as_text() -> None:
    assert device_path_text(BOOT_PATH) == (
        "PciRoot(0x0)/Pci(0x4,0x0)/NVMe(0x1,00-00-00-00-00-00-00-00)/"
        "HD(1,GPT,c12a7328-f81f-11d2-ba4b-00a0c93ec93b,0x800,0x80000)/\\EFI\\BOOT\\BOOTX64.EFI"
    )


@pytest.mark.parametrize(
    "path", [b"\x01", node(1, 1, b""), b"\x01\x01\x03\x00", b"\x04\x04\xff\xff", node(0x55, 0x66, b"??") * 1000]
)
def test_an_unreadable_path_is_shown_in_part(path: bytes) -> None:
    assert len(device_path_text(path)) <= 1024


def describe(event_type: EventType, data: bytes, pcr: int = 0) -> dict[str, object]:
    return describe_event(Event(1, pcr, event_type, {}, data))


def test_what_people_see() -> None:
    """The decoded data of the events that matter most."""
    image = struct.pack("<QQQQ", 0x1000, 0x2000, 0, len(BOOT_PATH)) + BOOT_PATH
    assert "BOOTX64" in str(describe(EventType.EV_EFI_BOOT_SERVICES_APPLICATION, image)["device_path"])
    assert describe(EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("SecureBoot", b"\1"))["hex"] == "01"
    assert describe(EventType.EV_EFI_ACTION, b"Exit Boot Services Invocation") == {
        "text": "Exit Boot Services Invocation"
    }
    assert describe(EventType.EV_IPL, "quiet splash\0".encode("utf-16-le") + b"\0") == {"text": "quiet splash"}
    tagged = struct.pack("<II", events.LINUX_INITRD_TAG, 13) + b"Linux initrd\0"
    assert describe(EventType.EV_EVENT_TAG, tagged, 9)["meaning"] == "initrd"
    assert describe(EventType.EV_NO_ACTION, b"StartupLocality\0\3") == {"startup_locality": 3}
    assert describe(EventType.EV_SEPARATOR, b"\1\0\0\0") == {"error": True}
    option = struct.pack("<IH", 1, len(BOOT_PATH)) + "Linux\0".encode("utf-16-le") + BOOT_PATH
    assert describe(EventType.EV_EFI_VARIABLE_BOOT, variable("Boot0001", option))["description"] == "Linux"


def test_people_see_what_some_shims_wrote() -> None:
    """Six bytes behind the variable, and no owner before its certificate; rules stay strict about both."""
    shim = variable("Shim", b"\x30\x82\x01\x00" + bytes(256)) + bytes(6)
    said = describe(EventType.EV_EFI_VARIABLE_AUTHORITY, shim, 7)
    assert (said["name"], said["size"], said["bytes_behind"]) == ("Shim", 260, 6)
    assert "owner" not in said
    with pytest.raises(FormatError):
        events.parse_uefi_variable(shim)


def test_people_see_which_kind_of_no_action_it_is() -> None:
    said = describe(EventType.EV_NO_ACTION, b"SP800-155 Event3" + b"\xff" * 4)
    assert said == {"signature": "SP800-155 Event3", "hex": "ffffffff"}
    assert describe(EventType.EV_NO_ACTION, b"NvIndexInstance\0" + b"\xff")["signature"] == "NvIndexInstance"
    assert "signature" not in describe(EventType.EV_NO_ACTION, b"\xff" * 20)


def test_data_that_cannot_be_read_is_said_to_be_so() -> None:
    assert "unreadable" in describe(EventType.EV_EFI_GPT_EVENT, b"short")
