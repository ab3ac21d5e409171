"""Boot event logs: the firmware's (TCG) and systemd's (policies/spec/eventlog.md).

TCG PC Client Platform Firmware Profile 1.06, 10 (crypto-agile and SHA-1 formats); systemd's ``tpm2-measure.log`` is
read in :mod:`sealwright_policies.tcg.userspacelog`. Nothing here is trusted: an event type is not covered by any
digest, and a log is worth something only when its replay gives quoted PCR values.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from sealwright_policies.errors import FormatError, UnsupportedError
from sealwright_policies.tcg.algorithms import DIGEST_SIZES, AlgorithmId, algorithm_name
from sealwright_policies.tcg.pcr import DYNAMIC_LAUNCH_PCR, PCR_COUNT, initial_value, replay_digests
from sealwright_policies.tcg.reader import LittleEndianReader
from sealwright_policies.tcg.userspacelog import UserspaceEvent, UserspaceLog, parse_userspace_log

__all__ = [
    "Event",
    "EventLog",
    "EventType",
    "LogFormat",
    "UserspaceEvent",
    "UserspaceLog",
    "parse_event_log",
    "parse_userspace_log",
]

MAX_LOG_SIZE = 16 << 20
"""Bytes. Firmware reserves 64 KiB to some hundred KiB; the kernel keeps the rest of the memory for better uses."""

MAX_EVENTS = 65_536
MAX_ALGORITHMS = 16
MAX_UNKNOWN_DIGEST_SIZE = 128
"""Bytes in a digest of an algorithm that only the header of the log knows."""

SPEC_ID_EVENT_03 = b"Spec ID Event03\0"
STARTUP_LOCALITY = b"StartupLocality\0"
HCRTM_LOCALITY = 4
_SHA1_EVENT_SIZE = 32
_EVENT2_HEADER = struct.Struct("<III")
_EVENT2_SIZE = 16


class LogFormat(IntEnum):
    """Of which format a log is: one SHA-1 digest in each event (TCG 1.2), or a list of digests (crypto-agile, 2.0)."""

    SHA1 = 1
    CRYPTO_AGILE = 2


class EventType(IntEnum):
    """Event types of the profile (10.4.1, table 27). A number not among them is kept as an int."""

    EV_PREBOOT_CERT = 0x0
    EV_POST_CODE = 0x1
    EV_UNUSED = 0x2
    EV_NO_ACTION = 0x3
    EV_SEPARATOR = 0x4
    EV_ACTION = 0x5
    EV_EVENT_TAG = 0x6
    EV_S_CRTM_CONTENTS = 0x7
    EV_S_CRTM_VERSION = 0x8
    EV_CPU_MICROCODE = 0x9
    EV_PLATFORM_CONFIG_FLAGS = 0xA
    EV_TABLE_OF_DEVICES = 0xB
    EV_COMPACT_HASH = 0xC
    EV_IPL = 0xD
    EV_IPL_PARTITION_DATA = 0xE
    EV_NONHOST_CODE = 0xF
    EV_NONHOST_CONFIG = 0x10
    EV_NONHOST_INFO = 0x11
    EV_OMIT_BOOT_DEVICE_EVENTS = 0x12
    EV_POST_CODE2 = 0x13
    EV_EFI_EVENT_BASE = 0x80000000
    EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EV_EFI_VARIABLE_BOOT = 0x80000002
    EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004
    EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005
    EV_EFI_GPT_EVENT = 0x80000006
    EV_EFI_ACTION = 0x80000007
    EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008
    EV_EFI_HANDOFF_TABLES = 0x80000009
    EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000A
    EV_EFI_HANDOFF_TABLES2 = 0x8000000B
    EV_EFI_VARIABLE_BOOT2 = 0x8000000C
    EV_EFI_GPT_EVENT2 = 0x8000000D
    EV_EFI_HCRTM_EVENT = 0x80000010
    EV_EFI_VARIABLE_AUTHORITY = 0x800000E0
    EV_EFI_SPDM_FIRMWARE_BLOB = 0x800000E1
    EV_EFI_SPDM_FIRMWARE_CONFIG = 0x800000E2
    EV_EFI_SPDM_DEVICE_POLICY = 0x800000E3
    EV_EFI_SPDM_DEVICE_AUTHORITY = 0x800000E4


_EVENT_TYPES: dict[int, EventType] = {member.value: member for member in EventType}


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``index`` counts from 0, the header of a crypto-agile log being 0; ``digests`` by TPM_ALG_ID."""

    index: int
    pcr: int
    type: EventType | int
    digests: Mapping[int, bytes]
    data: bytes

    @property
    def type_name(self) -> str:
        """The name in the profile, or the number in hexadecimal."""
        return self.type.name if isinstance(self.type, EventType) else f"{self.type:#010x}"

    @property
    def extends(self) -> bool:
        """Whether the event was extended into its PCR: all are but EV_NO_ACTION (10.4.1)."""
        return self.type is not EventType.EV_NO_ACTION


@dataclass(frozen=True, slots=True)
class EventLog:
    """A parsed log. ``banks`` gives the digest size by TPM_ALG_ID; ``padding`` counts unused bytes after the end."""

    format: LogFormat
    banks: Mapping[int, int]
    events: tuple[Event, ...]
    startup_locality: int
    padding: int

    def replay(self, bank: int = AlgorithmId.SHA256) -> dict[int, bytes]:
        """Return the value of each PCR that the log extends in ``bank``, as the TPM would have it.

        An event that has no digest for the bank does not extend it; :meth:`missing` lists those.

        Raises:
            UnsupportedError: the log has no such bank, or the bank's hash is not available.
        """
        if bank not in self.banks or bank not in DIGEST_SIZES:
            raise UnsupportedError(f"the log has no bank {algorithm_name(bank)} that can be replayed")
        no_action, extended, launched = EventType.EV_NO_ACTION, [], False
        for event in self.events:
            if event.type is no_action:
                continue
            pcr, digest = event.pcr, event.digests.get(bank)
            launched = launched or pcr == DYNAMIC_LAUNCH_PCR
            if digest is not None:
                extended.append((pcr, digest))
        start = {
            pcr: initial_value(pcr, bank, startup_locality=self.startup_locality, dynamic_launch=launched)
            for pcr in {pcr for pcr, _ in extended}
        }
        return replay_digests(extended, bank, start)

    def missing(self, bank: int) -> tuple[int, ...]:
        """Return the indexes of the events that extend a PCR but have no digest for ``bank``."""
        return tuple(event.index for event in self.events if event.extends and bank not in event.digests)


def parse_event_log(data: bytes) -> EventLog:
    """Parse a firmware event log as the kernel shows it in ``binary_bios_measurements``.

    The format is crypto-agile if the first event is a 'Spec ID Event03', else SHA-1. Unused log area after the last
    event is accepted if it is all 0xFF (which firmware fills it with), or all zeros and long enough for an event
    header, for which the kernel stops reading too; no event can begin like either.

    Raises:
        FormatError: empty, truncated, over a limit, or against the profile.
    """
    reader = LittleEndianReader(data, "event log", max_size=MAX_LOG_SIZE)
    if not data:
        raise FormatError("event log: empty, the firmware gave none")
    log_format, banks, first = _read_first_event(reader)
    events = [first]
    # Looked for once, not before each event: a hostile log must not make the work grow with the square of its size.
    ones, zeros = len(data.rstrip(b"\xff")), len(data.rstrip(b"\0"))
    header_size = _SHA1_EVENT_SIZE if log_format is LogFormat.SHA1 else _EVENT2_SIZE
    while reader.remaining:
        if log_format is LogFormat.CRYPTO_AGILE:
            reader.offset = _read_usual_events(data, reader.offset, events, banks)
        # Fewer zeros than a header are no padding, but a log cut off behind the PCR of its last event.
        if reader.offset >= ones or (reader.offset >= zeros and reader.remaining >= header_size):
            break
        if len(events) == MAX_EVENTS:
            raise FormatError(f"event log: more than {MAX_EVENTS} events")
        start = reader.offset
        try:
            if log_format is LogFormat.SHA1:
                events.append(_read_sha1_event(reader, len(events)))
            else:
                events.append(_read_event2(reader, len(events), banks))
        except FormatError as error:
            raise FormatError(f"event {len(events)} at byte {start}: {error}") from None
    return EventLog(log_format, banks, tuple(events), _startup_locality(events), reader.remaining)


def _read_first_event(reader: LittleEndianReader) -> tuple[LogFormat, Mapping[int, int], Event]:
    """Read the event that tells the format, and the banks of a crypto-agile log."""
    try:
        first = _read_sha1_event(reader, 0)
        if first.type is not EventType.EV_NO_ACTION or not first.data.startswith(SPEC_ID_EVENT_03):
            return LogFormat.SHA1, {int(AlgorithmId.SHA1): DIGEST_SIZES[AlgorithmId.SHA1]}, first
        if first.pcr != 0:
            raise FormatError(f"a Spec ID event in PCR {first.pcr}, it belongs in 0")
        return LogFormat.CRYPTO_AGILE, _read_spec_id(first.data), first
    except FormatError as error:
        raise FormatError(f"event 0 at byte 0: {error}") from None


def _check_pcr(pcr: int, event_type: EventType | int) -> None:
    # Events that extend nothing may name a register that does not exist (0xFFFFFFFF is seen).
    if pcr >= PCR_COUNT and event_type is not EventType.EV_NO_ACTION:
        raise FormatError(f"PCR {pcr}, the last one is {PCR_COUNT - 1}")


def _read_sha1_event(reader: LittleEndianReader, index: int) -> Event:
    """Read a TCG_PCClientPCREvent (10.2.1)."""
    pcr, number = reader.u32(), reader.u32()
    event_type = _EVENT_TYPES.get(number, number)
    _check_pcr(pcr, event_type)
    digest = reader.take(DIGEST_SIZES[AlgorithmId.SHA1])
    return Event(index, pcr, event_type, {int(AlgorithmId.SHA1): digest}, reader.take(reader.u32()))


def _read_usual_events(data: bytes, offset: int, events: list[Event], banks: Mapping[int, int]) -> int:
    """Read events that are as nearly all firmware writes them: one digest for each bank, in the header's order.

    Up to its data such a TCG_PCR_EVENT2 has a fixed size and is read at one go: the speed of appraisals hangs on this.
    Returns the offset of the first event that is not like this, or faulty, or padding.
    """
    algorithms = list(banks)
    layout = struct.Struct("<III" + "".join(f"H{size}s" for size in banks.values()) + "I")
    head, count_wanted, length, index, last = layout.size, len(algorithms), len(data), len(events), PCR_COUNT - 1
    unpack, types, append = layout.unpack_from, _EVENT_TYPES, events.append
    while index < MAX_EVENTS and offset + head <= length:
        pcr, number, count, *listed, size = unpack(data, offset)
        start = offset + head
        end = start + size
        if pcr > last or count != count_wanted or listed[::2] != algorithms or end > length:
            break
        digests = dict(zip(algorithms, listed[1::2], strict=True))
        append(Event(index, pcr, types.get(number, number), digests, data[start:end]))
        index, offset = index + 1, end
    return offset


def _read_event2(reader: LittleEndianReader, index: int, banks: Mapping[int, int]) -> Event:
    """Read a TCG_PCR_EVENT2 (10.2.2). Digests of a part of the banks are read too; :meth:`EventLog.missing` tells."""
    pcr, number, count = reader.fields(_EVENT2_HEADER)
    event_type = _EVENT_TYPES.get(number, number)
    _check_pcr(pcr, event_type)
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = reader.u16()
        size = banks.get(algorithm)
        if size is None:
            raise FormatError(f"a digest of algorithm {algorithm_name(algorithm)}, which the header does not declare")
        if algorithm in digests:
            raise FormatError(f"a second digest of algorithm {algorithm_name(algorithm)}")
        digests[algorithm] = reader.take(size)
    return Event(index, pcr, event_type, digests, reader.take(reader.u32()))


def _read_spec_id(data: bytes) -> dict[int, int]:
    """Read TCG_EfiSpecIDEvent (10.4.5.1) and return the digest size of each algorithm."""
    reader = LittleEndianReader(data, "Spec ID event", max_size=len(data))
    reader.take(len(SPEC_ID_EVENT_03) + 4 + 4)  # signature, platformClass, versions and uintnSize: all are accepted
    count = reader.u32()
    if not 1 <= count <= MAX_ALGORITHMS:
        raise FormatError(f"Spec ID event: {count} algorithms, 1 to {MAX_ALGORITHMS} can be")
    banks: dict[int, int] = {}
    for _ in range(count):
        algorithm, size = reader.u16(), reader.u16()
        if algorithm in banks:
            raise FormatError(f"Spec ID event: algorithm {algorithm_name(algorithm)} twice")
        if size != DIGEST_SIZES.get(algorithm, size) or not 1 <= size <= MAX_UNKNOWN_DIGEST_SIZE:
            raise FormatError(f"Spec ID event: a digest of {algorithm_name(algorithm)} cannot have {size} bytes")
        banks[algorithm] = size
    reader.take(reader.u8())  # vendorInfo
    reader.finish()
    return banks


def _startup_locality(events: list[Event]) -> int:
    """Return the last byte with which PCR 0 began.

    It is the locality of TPM2_Startup, told by an EV_NO_ACTION 'StartupLocality' event (10.4.5.3), and 4 after a
    hardware CRTM, whose EV_EFI_HCRTM_EVENT is then the first measurement (TPM 2.0 Library, Part 1, 34.3). Whatever
    comes after the first measurement into PCR 0 can no longer change where it began.
    """
    locality = 0
    for event in events:
        if event.pcr == 0 and event.extends:
            return HCRTM_LOCALITY if event.type is EventType.EV_EFI_HCRTM_EVENT else locality
        if event.type is EventType.EV_NO_ACTION and event.data.startswith(STARTUP_LOCALITY):
            if len(event.data) != len(STARTUP_LOCALITY) + 1:
                raise FormatError(f"event {event.index}: a StartupLocality event of {len(event.data)} bytes")
            locality = event.data[-1]
    return locality
