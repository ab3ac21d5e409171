"""The data of boot events, as far as rules or people need it (PC Client Platform Firmware Profile 1.06, 10.2 and 10.4).

Each ``parse_`` function is strict and raises FormatError; :mod:`sealwright_policies.tcg.event_text` shows events to
people and never fails. The digest of an event covers its data only for some types, and its type never: a rule that
relies on what is parsed here must first find the digest of the data in the event.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.device_path import device_path_text, guid_text
from sealwright_policies.tcg.eventlog import MAX_LOG_SIZE
from sealwright_policies.tcg.reader import LittleEndianReader

MAX_PARTITIONS = 1024
MAX_SIGNATURES = 65_536
GUID_SIZE = 16
PARTITION_ENTRY_SIZE = 128

EFI_GLOBAL_VARIABLE = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
EFI_IMAGE_SECURITY_DATABASE = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
EFI_CERT_SHA256 = "c1c41626-504c-4092-aca9-41f936934328"
EFI_CERT_X509 = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
"""GUIDs of UEFI Specification 2.10, 3.3 and 32.4.1."""

LINUX_INITRD_TAG = 0x8F3B22EC
LINUX_LOAD_OPTIONS_TAG = 0x8F3B22ED
"""taggedEventID of the Linux EFI stub's measurements into PCR 9 (include/linux/efi.h)."""


@dataclass(frozen=True, slots=True)
class UefiVariable:
    """UEFI_VARIABLE_DATA (10.2.6): the data of EV_EFI_VARIABLE_DRIVER_CONFIG, _BOOT and _AUTHORITY."""

    vendor: str
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageLoad:
    """UEFI_IMAGE_LOAD_EVENT (10.2.3). The digest of its event is the image's Authenticode, not that of this data."""

    location: int
    length: int
    link_time_address: int
    device_path: bytes

    @property
    def device_path_text(self) -> str:
        """The path as text."""
        return device_path_text(self.device_path)


@dataclass(frozen=True, slots=True)
class FirmwareBlob:
    """UEFI_PLATFORM_FIRMWARE_BLOB (10.2.5), or its second form with a description."""

    base: int
    length: int
    description: str


@dataclass(frozen=True, slots=True)
class TaggedEvent:
    """TCG_PCClientTaggedEvent (10.2.7): the data of EV_EVENT_TAG, by the Linux EFI stub and systemd-stub."""

    tag: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Partition:
    """One EFI_PARTITION_ENTRY."""

    type: str
    identifier: str
    first_lba: int
    last_lba: int
    attributes: int
    name: str


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """UEFI_GPT_DATA (10.2.4): the data of EV_EFI_GPT_EVENT."""

    disk: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class SignatureEntry:
    """EFI_SIGNATURE_DATA (UEFI 32.4.1): who put it there, and the hash or certificate."""

    owner: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SignatureList:
    """EFI_SIGNATURE_LIST (UEFI 32.4.1), one kind of hash or certificate."""

    type: str
    entries: tuple[SignatureEntry, ...]


def parse_uefi_variable(data: bytes) -> UefiVariable:
    """Parse UEFI_VARIABLE_DATA."""
    variable, rest = split_uefi_variable(data)
    if rest:
        raise FormatError(f"UEFI_VARIABLE_DATA: {len(rest)} bytes after the end")
    return variable


def split_uefi_variable(data: bytes) -> tuple[UefiVariable, bytes]:
    """Return UEFI_VARIABLE_DATA and what stands behind it; some versions of shim left six bytes there. For people."""
    reader = LittleEndianReader(data, "UEFI_VARIABLE_DATA", max_size=MAX_LOG_SIZE)
    vendor = guid_text(reader.take(GUID_SIZE))
    name_length, data_length = reader.u64(), reader.u64()
    name = _utf16(reader.take(2 * name_length), "UEFI_VARIABLE_DATA")
    value = reader.take(data_length)
    return UefiVariable(vendor, name, value), reader.rest()


def parse_image_load(data: bytes) -> ImageLoad:
    """Parse UEFI_IMAGE_LOAD_EVENT. Bytes behind the device path are ignored: some firmware leaves its length zero."""
    reader = LittleEndianReader(data, "UEFI_IMAGE_LOAD_EVENT", max_size=MAX_LOG_SIZE)
    location, length, link_time_address, path_length = reader.u64(), reader.u64(), reader.u64(), reader.u64()
    return ImageLoad(location, length, link_time_address, reader.take(path_length))


def parse_firmware_blob(data: bytes) -> FirmwareBlob:
    """Parse UEFI_PLATFORM_FIRMWARE_BLOB."""
    reader = LittleEndianReader(data, "UEFI_PLATFORM_FIRMWARE_BLOB", max_size=MAX_LOG_SIZE)
    blob = FirmwareBlob(reader.u64(), reader.u64(), "")
    reader.finish()
    return blob


def parse_firmware_blob2(data: bytes) -> FirmwareBlob:
    """Parse UEFI_PLATFORM_FIRMWARE_BLOB2, which begins with a described blob."""
    reader = LittleEndianReader(data, "UEFI_PLATFORM_FIRMWARE_BLOB2", max_size=MAX_LOG_SIZE)
    description = reader.take(reader.u8()).rstrip(b"\0").decode("ascii", "replace")
    blob = FirmwareBlob(reader.u64(), reader.u64(), description)
    reader.finish()
    return blob


def parse_tagged_event(data: bytes) -> TaggedEvent:
    """Parse TCG_PCClientTaggedEvent."""
    reader = LittleEndianReader(data, "TCG_PCClientTaggedEvent", max_size=MAX_LOG_SIZE)
    tag = reader.u32()
    content = reader.take(reader.u32())
    reader.finish()
    return TaggedEvent(tag, content)


def parse_gpt_event(data: bytes) -> PartitionTable:
    """Parse UEFI_GPT_DATA: the header (UEFI 5.3.2), the number of entries in use, and those entries."""
    reader = LittleEndianReader(data, "UEFI_GPT_DATA", max_size=MAX_LOG_SIZE)
    if reader.take(8) != b"EFI PART":
        raise FormatError("UEFI_GPT_DATA: does not begin with a GPT header")
    reader.take(48)  # revision, sizes, CRC and the LBAs of header and usable area
    disk = guid_text(reader.take(GUID_SIZE))
    reader.take(12)  # LBA and number of all entries
    entry_size = reader.u32()
    reader.take(4)
    count = reader.u64()
    if entry_size < PARTITION_ENTRY_SIZE or count > MAX_PARTITIONS:
        raise FormatError(f"UEFI_GPT_DATA: {count} entries of {entry_size} bytes")
    partitions = tuple(_read_partition(reader, entry_size) for _ in range(count))
    reader.finish()
    return PartitionTable(disk, partitions)


def _read_partition(reader: LittleEndianReader, entry_size: int) -> Partition:
    kind, identifier = guid_text(reader.take(GUID_SIZE)), guid_text(reader.take(GUID_SIZE))
    first_lba, last_lba, attributes = reader.u64(), reader.u64(), reader.u64()
    name = reader.take(72).decode("utf-16-le", "replace").split("\0")[0]
    reader.take(entry_size - PARTITION_ENTRY_SIZE)
    return Partition(kind, identifier, first_lba, last_lba, attributes, name)


def parse_signature_lists(data: bytes) -> tuple[SignatureList, ...]:
    """Parse the contents of PK, KEK, db or dbx: EFI_SIGNATURE_LISTs one behind the other, or none."""
    reader = LittleEndianReader(data, "EFI_SIGNATURE_LIST", max_size=MAX_LOG_SIZE)
    lists: list[SignatureList] = []
    budget = MAX_SIGNATURES
    while reader.remaining:
        kind = guid_text(reader.take(GUID_SIZE))
        list_size, header_size, signature_size = reader.u32(), reader.u32(), reader.u32()
        body_size = list_size - GUID_SIZE - 12 - header_size
        if body_size < 0 or signature_size <= GUID_SIZE or body_size % signature_size:
            raise FormatError(f"EFI_SIGNATURE_LIST: {list_size} bytes cannot hold entries of {signature_size} bytes")
        count = body_size // signature_size
        budget -= count
        if budget < 0:
            raise FormatError(f"EFI_SIGNATURE_LIST: more than {MAX_SIGNATURES} entries")
        reader.take(header_size)
        lists.append(
            SignatureList(kind, tuple(parse_signature_data(reader.take(signature_size)) for _ in range(count)))
        )
    return tuple(lists)


def parse_signature_data(data: bytes) -> SignatureEntry:
    """Parse one EFI_SIGNATURE_DATA, which is also the data of EV_EFI_VARIABLE_AUTHORITY's variable."""
    reader = LittleEndianReader(data, "EFI_SIGNATURE_DATA", max_size=MAX_LOG_SIZE)
    owner = guid_text(reader.take(GUID_SIZE))
    return SignatureEntry(owner, reader.rest())


def _utf16(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-16-le")
    except UnicodeDecodeError:
        raise FormatError(f"{what}: a name is not UTF-16") from None
