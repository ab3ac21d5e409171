"""Writes firmware event logs for tests, in both formats of the TCG PC Client Platform Firmware Profile."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sealwright_policies.tcg.algorithms import DIGEST_SIZES, AlgorithmId, hash_bytes
from sealwright_policies.tcg.eventlog import EventType

SPEC_ID_03 = b"Spec ID Event03\0"


@dataclass(frozen=True)
class LoggedEvent:
    """An event to write. Its digests are those of ``data`` unless given; ``digests`` by TPM_ALG_ID."""

    pcr: int
    type: int
    data: bytes = b""
    digests: dict[int, bytes] | None = None

    def digest(self, bank: int) -> bytes:
        """Return the digest for a bank; of an EV_NO_ACTION event, zeros."""
        if self.digests is not None:
            return self.digests[bank]
        if self.type == EventType.EV_NO_ACTION:
            return bytes(DIGEST_SIZES[bank])
        return hash_bytes(bank, self.data)

    def banks(self, banks: Iterable[int]) -> list[int]:
        """Return the banks that the event has a digest for."""
        return list(banks) if self.digests is None else list(self.digests)


@dataclass(frozen=True)
class LogWriter:
    """Writes crypto-agile logs; ``sizes`` overrides or adds digest sizes in the header."""

    banks: Sequence[int] = (AlgorithmId.SHA256,)
    sizes: dict[int, int] = field(default_factory=dict)
    vendor_info: bytes = b""

    def header(self) -> bytes:
        """Return the Spec ID event."""
        body = SPEC_ID_03 + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(self.banks))
        for bank in self.banks:
            body += struct.pack("<HH", bank, self.sizes.get(bank, DIGEST_SIZES.get(bank, 0)))
        return sha1_event(
            LoggedEvent(0, EventType.EV_NO_ACTION, body + bytes((len(self.vendor_info),)) + self.vendor_info)
        )

    def event(self, event: LoggedEvent) -> bytes:
        """Return one TCG_PCR_EVENT2."""
        banks = event.banks(self.banks)
        written = struct.pack("<III", event.pcr, event.type, len(banks))
        for bank in banks:
            written += struct.pack("<H", bank) + event.digest(bank)
        return written + struct.pack("<I", len(event.data)) + event.data

    def log(self, events: Iterable[LoggedEvent]) -> bytes:
        """Return a whole log."""
        return self.header() + b"".join(self.event(event) for event in events)


def sha1_event(event: LoggedEvent) -> bytes:
    """Return one TCG_PCClientPCREvent."""
    digest = event.digest(AlgorithmId.SHA1)
    return struct.pack("<II", event.pcr, event.type) + digest + struct.pack("<I", len(event.data)) + event.data


def sha1_log(events: Iterable[LoggedEvent]) -> bytes:
    """Return a log of TCG 1.2 format, without a header event."""
    return b"".join(sha1_event(event) for event in events)


def startup_locality(locality: int) -> LoggedEvent:
    """Return the event that tells from which locality TPM2_Startup came."""
    return LoggedEvent(0, EventType.EV_NO_ACTION, b"StartupLocality\0" + bytes((locality,)))


def separator(pcr: int) -> LoggedEvent:
    """Return the separator between pre-boot and boot."""
    return LoggedEvent(pcr, EventType.EV_SEPARATOR, bytes(4))


def replay(events: Iterable[LoggedEvent], bank: int, *, locality: int = 0) -> dict[int, bytes]:
    """Extend the events as a TPM does; written apart from the code under test, for banks that hashlib has."""
    name = AlgorithmId(bank).name.lower()
    size = hashlib.new(name).digest_size
    values: dict[int, bytes] = {}
    listed = list(events)
    launched = any(event.pcr == 17 and event.type != EventType.EV_NO_ACTION for event in listed)
    for event in listed:
        if event.type == EventType.EV_NO_ACTION or bank not in event.banks((bank,)):
            continue
        start = b"\xff" * size if 17 <= event.pcr <= 22 and not launched else bytes(size)
        if event.pcr == 0:
            start = bytes(size - 1) + bytes((locality,))
        values[event.pcr] = hashlib.new(name, values.get(event.pcr, start) + event.digest(bank)).digest()
    return values
