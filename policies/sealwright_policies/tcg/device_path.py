"""Text of UEFI device paths, for people (UEFI Specification 2.10, 10.3 and 10.6). Rules never judge by it."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable

MAX_NODES = 64
MAX_TEXT = 1024
_HEADER_SIZE = 4
_END, _END_ENTIRE, _END_INSTANCE = 0x7F, 0xFF, 0x01


def device_path_text(path: bytes) -> str:
    """Return the nodes joined by '/', as far as they can be read; whatever cannot be is shown in hexadecimal."""
    parts: list[str] = []
    offset = 0
    while offset < len(path) and len(parts) < MAX_NODES:
        header = path[offset : offset + _HEADER_SIZE]
        length = int.from_bytes(header[2:4], "little")
        if len(header) < _HEADER_SIZE or length < _HEADER_SIZE or offset + length > len(path):
            parts.append(f"unreadable({path[offset:].hex()})")
            break
        kind, subkind = header[0], header[1]
        if kind == _END:
            if subkind == _END_ENTIRE:
                break
            parts.append("," if subkind == _END_INSTANCE else f"End({subkind:#x})")
        else:
            parts.append(_node_text(kind, subkind, path[offset + _HEADER_SIZE : offset + length]))
        offset += length
    return "/".join(parts)[:MAX_TEXT]


def _node_text(kind: int, subkind: int, data: bytes) -> str:
    writer = _WRITERS.get((kind, subkind))
    if writer is not None:
        try:
            return writer(data)
        except struct.error:
            pass  # a node shorter than its fields is shown as it is
    return f"Path({kind:#x},{subkind:#x},{data.hex()})"


def guid_text(data: bytes) -> str:
    """Return the registry form of the 16 bytes of an EFI_GUID."""
    return str(uuid.UUID(bytes_le=data))


def _guid(data: bytes) -> str:
    if len(data) < 16:
        raise struct.error("no GUID")
    return guid_text(data[:16])


def _pci(data: bytes) -> str:
    function, device = struct.unpack("<BB", data)
    return f"Pci({device:#x},{function:#x})"


def _acpi(data: bytes) -> str:
    hid, uid = struct.unpack("<II", data)
    if hid == 0x0A0341D0:
        return f"PciRoot({uid:#x})"
    if hid & 0xFFFF == 0x41D0:  # an EISA identifier of the vendor PNP
        return f"Acpi(PNP{hid >> 16:04X},{uid:#x})"
    return f"Acpi({hid:#010x},{uid:#x})"


def _sata(data: bytes) -> str:
    return "Sata({:#x},{:#x},{:#x})".format(*struct.unpack("<HHH", data))


def _nvme(data: bytes) -> str:
    namespace, identifier = struct.unpack("<I8s", data)
    return f"NVMe({namespace:#x},{'-'.join(f'{byte:02X}' for byte in reversed(identifier))})"


def _scsi(data: bytes) -> str:
    return "Scsi({:#x},{:#x})".format(*struct.unpack("<HH", data))


def _usb(data: bytes) -> str:
    return "USB({:#x},{:#x})".format(*struct.unpack("<BB", data))


def _mac(data: bytes) -> str:
    address, interface = struct.unpack("<32sB", data)
    return f"MAC({address[:6].hex()},{interface:#x})"


def _hard_drive(data: bytes) -> str:
    number, start, size, signature, _table, kind = struct.unpack("<IQQ16sBB", data)
    if kind == 2:
        return f"HD({number},GPT,{guid_text(signature)},{start:#x},{size:#x})"
    if kind == 1:
        return f"HD({number},MBR,{int.from_bytes(signature[:4], 'little'):#010x},{start:#x},{size:#x})"
    return f"HD({number},{kind},{start:#x},{size:#x})"


def _file_path(data: bytes) -> str:
    return data.decode("utf-16-le", "replace").rstrip("\0")


def _memory(data: bytes) -> str:
    return "MemoryMapped({:#x},{:#x},{:#x})".format(*struct.unpack("<IQQ", data))


def _offset(data: bytes) -> str:
    _reserved, start, end = struct.unpack("<IQQ", data)
    return f"Offset({start:#x},{end:#x})"


_WRITERS: dict[tuple[int, int], Callable[[bytes], str]] = {
    (0x01, 0x01): _pci,
    (0x01, 0x03): _memory,
    (0x01, 0x04): lambda data: f"VenHw({_guid(data)},{data[16:].hex()})",
    (0x02, 0x01): _acpi,
    (0x03, 0x02): _scsi,
    (0x03, 0x05): _usb,
    (0x03, 0x0A): lambda data: f"VenMsg({_guid(data)},{data[16:].hex()})",
    (0x03, 0x0B): _mac,
    (0x03, 0x12): _sata,
    (0x03, 0x17): _nvme,
    (0x03, 0x18): lambda data: f"Uri({data.decode('utf-8', 'replace')})",
    (0x04, 0x01): _hard_drive,
    (0x04, 0x03): lambda data: f"VenMedia({_guid(data)},{data[16:].hex()})",
    (0x04, 0x04): _file_path,
    (0x04, 0x06): lambda data: f"FvFile({_guid(data)})",
    (0x04, 0x07): lambda data: f"Fv({_guid(data)})",
    (0x04, 0x08): _offset,
}
