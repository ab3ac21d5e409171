"""Writes the vectors of ``tests/vectors/eventlog``: ``python -m sealwright_testing.eventlog_vectors DIRECTORY``.

All logs are written here from nothing; the output is the same each time. Expected PCR values come from a replay that is
written apart from the code under test, and for what tpm2-tools can read they were compared with ``tpm2_eventlog``.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import EventType
from sealwright_testing.event_logs import (
    LoggedEvent,
    LogWriter,
    replay,
    separator,
    sha1_log,
    startup_locality,
)

SHA1, SHA256, SHA384, SM3 = AlgorithmId.SHA1, AlgorithmId.SHA256, AlgorithmId.SHA384, AlgorithmId.SM3_256
UNKNOWN_ALGORITHM = 0x7F01
NO_PCR = 0xFFFFFFFF

VERSION = LoggedEvent(0, EventType.EV_S_CRTM_VERSION, "1.0".encode("utf-16-le") + b"\0\0")
ACTION = LoggedEvent(4, EventType.EV_EFI_ACTION, b"Calling EFI Application from Boot Option")
SEPARATORS = tuple(separator(pcr) for pcr in range(8))
BOOT = (VERSION, *SEPARATORS, ACTION)
HCRTM = LoggedEvent(0, EventType.EV_EFI_HCRTM_EVENT, b"HCRTM")
SINGLE = LogWriter((SHA256,))
DOUBLE = LogWriter((SHA1, SHA256))


@dataclass(frozen=True)
class Vector:
    """A log and what it must come to; ``pcrs`` by bank name, None for a malformed log."""

    name: str
    section: str
    description: str
    log: bytes
    pcrs: Mapping[str, Mapping[int, bytes]] | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the three files."""
        folder = directory / self.name
        folder.mkdir(parents=True)
        manifest = {
            "description": self.description,
            "spec": f"eventlog.md {self.section}",
            "operation": "parse_event_log",
        }
        expected: dict[str, object] = {"outcome": "malformed"}
        if self.pcrs is not None:
            values = {
                bank: {str(pcr): pcrs[pcr].hex() for pcr in sorted(pcrs)} for bank, pcrs in self.pcrs.items() if pcrs
            }
            expected = {"outcome": "accepted", **self.facts, "pcrs": values}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")
        (folder / "input.bin").write_bytes(self.log)


def pcrs(events: Iterable[LoggedEvent], *banks: int, locality: int = 0) -> dict[str, dict[int, bytes]]:
    """What the PCRs of these banks hold after the events."""
    listed = list(events)
    return {AlgorithmId(bank).name.lower(): replay(listed, bank, locality=locality) for bank in banks}


def good(
    name: str,
    section: str,
    description: str,
    log: bytes,
    values: Mapping[str, Mapping[int, bytes]],
    **facts: object,
) -> Vector:
    """A log that is accepted, with the values and facts that follow from it."""
    return Vector(name, section, description, log, values, facts)


def good_vectors() -> Iterator[Vector]:
    """Yield logs that conforming firmware may write."""
    yield from bank_vectors()
    yield from event_vectors()
    yield from extent_vectors()


def bank_vectors() -> Iterator[Vector]:
    """Sections 2 to 3.1: formats, headers, banks."""
    yield good("sha1", "2", "TCG 1.2 format, no header event", sha1_log(BOOT), pcrs(BOOT, SHA1), format="sha1")
    old_header = LoggedEvent(0, EventType.EV_NO_ACTION, b"Spec ID Event02\0" + bytes(9))
    yield good(
        "sha1-spec-id-02",
        "2",
        "TCG 1.2 format, EFI header event",
        sha1_log((old_header, *BOOT)),
        pcrs(BOOT, SHA1),
        format="sha1",
    )
    yield good("single-bank", "3", "one SHA-256 bank", SINGLE.log(BOOT), pcrs(BOOT, SHA256), format="crypto_agile")
    yield good("two-banks", "3", "SHA-1 and SHA-256", DOUBLE.log(BOOT), pcrs(BOOT, SHA1, SHA256))
    triple = LogWriter((SHA1, SHA256, SHA384), vendor_info=b"vendor")
    yield good(
        "three-banks-vendor-info", "3", "three banks, vendorInfo", triple.log(BOOT), pcrs(BOOT, SHA1, SHA256, SHA384)
    )
    yield good("header-only", "3", "no event but the header", SINGLE.header(), {})
    first_header = LoggedEvent(0, EventType.EV_NO_ACTION, b"Spec ID Event00\0" + bytes(8))
    yield good(
        "sha1-spec-id-00",
        "2",
        "TCG 1.2 format, header event of conventional BIOS",
        sha1_log((first_header, *BOOT)),
        pcrs(BOOT, SHA1),
        format="sha1",
    )
    five = (SHA1, SHA256, SHA384, AlgorithmId.SHA512, AlgorithmId.SHA3_384)
    yield good("five-banks", "3.1", "SHA-1, SHA-2 and SHA-3", LogWriter(five).log(BOOT), pcrs(BOOT, *five))
    yield good(
        "sha384-alone",
        "3.1",
        "no other bank, as in the log of a confidential VM",
        LogWriter((SHA384,)).log(BOOT),
        pcrs(BOOT, SHA384),
    )
    sm3 = LogWriter((SHA256, SM3))
    yield good("sm3", "3.1", "a SM3-256 bank beside SHA-256", sm3.log(BOOT), pcrs(BOOT, SHA256))
    odd = LogWriter((SHA256, UNKNOWN_ALGORITHM), {UNKNOWN_ALGORITHM: 40})
    event = LoggedEvent(4, EventType.EV_SEPARATOR, bytes(4), {SHA256: bytes(range(32)), UNKNOWN_ALGORITHM: bytes(40)})
    yield good(
        "unknown-algorithm", "3.1", "an algorithm that only the header knows", odd.log([event]), pcrs([event], SHA256)
    )


def event_vectors() -> Iterator[Vector]:
    """Sections 3.2 to 4: single events."""
    part = LoggedEvent(7, EventType.EV_SEPARATOR, bytes(4), {SHA1: bytes(20)})
    yield good(
        "partial-digests",
        "3.2",
        "an event without SHA-256 digest: the bank is incomplete",
        DOUBLE.log([*BOOT, part]),
        pcrs([*BOOT, part], SHA1) | pcrs(BOOT, SHA256),
        missing_sha256=[11],
    )
    none = LoggedEvent(7, EventType.EV_SEPARATOR, bytes(4), {})
    yield good(
        "empty-digest-list",
        "3.2",
        "an event without any digest",
        DOUBLE.log([*BOOT, none]),
        pcrs(BOOT, SHA1, SHA256),
        missing_sha256=[11],
    )
    turned = LoggedEvent(4, EventType.EV_SEPARATOR, bytes(4), {SHA256: bytes(range(32)), SHA1: bytes(range(20))})
    yield good(
        "digests-in-other-order",
        "3.2",
        "digests in another order than in the header",
        DOUBLE.log([turned]),
        pcrs([turned], SHA1, SHA256),
    )
    everywhere = tuple(separator(pcr) for pcr in range(24))
    yield good("all-pcrs", "3.2", "an event in each PCR", SINGLE.log(everywhere), pcrs(everywhere, SHA256))
    vendor_event = LoggedEvent(1, 0x90000001, b"something of the maker")
    yield good(
        "unknown-event-type",
        "3.2",
        "an event type outside the profile",
        SINGLE.log([vendor_event]),
        pcrs([vendor_event], SHA256),
    )
    info = LoggedEvent(NO_PCR, EventType.EV_NO_ACTION, b"no register")
    yield good(
        "no-action-no-pcr", "3.3", "EV_NO_ACTION with PCR 0xFFFFFFFF", SINGLE.log((info, *BOOT)), pcrs(BOOT, SHA256)
    )
    said = [
        LoggedEvent(0, EventType.EV_NO_ACTION, b"SP800-155 Event3" + bytes(40), {SHA256: bytes(range(32))}),
        LoggedEvent(6, EventType.EV_NO_ACTION, b"NvIndexDynamic\0\0" + bytes(8), {SHA256: b"\xff" * 32}),
        LoggedEvent(7, EventType.EV_NO_ACTION, b"", {}),
    ]
    mixed = [said[0], *BOOT[:5], said[1], *BOOT[5:], said[2]]
    yield good(
        "no-action-anywhere",
        "3.3",
        "EV_NO_ACTION of several kinds between other events, with digests that are not extended",
        SINGLE.log(mixed),
        pcrs(BOOT, SHA256),
        missing_sha256=[],
    )
    dynamic = LoggedEvent(22, EventType.EV_EVENT_TAG, b"no launch")
    yield good("dynamic-pcr", "4", "PCR 22 begins as ones", SINGLE.log([dynamic]), pcrs([dynamic], SHA256))
    launch = [LoggedEvent(18, EventType.EV_EVENT_TAG, b"later"), LoggedEvent(17, 0x402, b"launch")]
    yield good(
        "dynamic-launch",
        "4",
        "PCR 17 is extended: after a dynamic launch it and PCR 18 began as zeros",
        SINGLE.log(launch),
        pcrs(launch, SHA256),
    )


def extent_vectors() -> Iterator[Vector]:
    """Sections 4.1 and 5: how PCR 0 begins, and where a log ends."""
    yield good(
        "startup-locality-3",
        "4.1",
        "TPM2_Startup came from locality 3",
        SINGLE.log((startup_locality(3), *BOOT)),
        pcrs(BOOT, SHA256, locality=3),
        startup_locality=3,
    )
    yield good(
        "startup-locality-late",
        "4.1",
        "a StartupLocality behind the first measurement into PCR 0 is void",
        SINGLE.log((*BOOT, startup_locality(3))),
        pcrs(BOOT, SHA256),
        startup_locality=0,
    )
    crtm = (HCRTM, *BOOT)
    yield good(
        "hcrtm",
        "4.1",
        "a hardware CRTM: PCR 0 begins with 4",
        SINGLE.log(crtm),
        pcrs(crtm, SHA256, locality=4),
        startup_locality=4,
    )
    yield good(
        "startup-locality-4",
        "4.1",
        "a hardware CRTM that is told by StartupLocality alone",
        SINGLE.log((startup_locality(4), *BOOT)),
        pcrs(BOOT, SHA256, locality=4),
        startup_locality=4,
    )
    yield good(
        "hcrtm-and-startup-locality",
        "4.1",
        "a hardware CRTM comes before TPM2_Startup, from whichever locality that was",
        SINGLE.log((startup_locality(3), *crtm)),
        pcrs(crtm, SHA256, locality=4),
        startup_locality=4,
    )
    late = (VERSION, HCRTM, *BOOT[1:])
    yield good(
        "hcrtm-late",
        "4.1",
        "a EV_EFI_HCRTM_EVENT behind the first measurement is a measurement like others",
        SINGLE.log(late),
        pcrs(late, SHA256),
        startup_locality=0,
    )
    yield good(
        "padding-ff", "5", "unused log area of 0xFF", SINGLE.log(BOOT) + b"\xff" * 999, pcrs(BOOT, SHA256), padding=999
    )
    yield good(
        "padding-zero", "5", "unused log area of zeros", SINGLE.log(BOOT) + bytes(64), pcrs(BOOT, SHA256), padding=64
    )
    yield good(
        "sha1-padding-ff",
        "5",
        "the same in TCG 1.2 format",
        sha1_log(BOOT) + b"\xff" * 64,
        pcrs(BOOT, SHA1),
        padding=64,
    )


def bad_vectors() -> Iterator[Vector]:
    """Yield logs that are refused as malformed."""
    log = DOUBLE.log(BOOT)
    header = DOUBLE.header()
    start = struct.pack("<III", 4, EventType.EV_SEPARATOR, 2)
    digests = struct.pack("<H", SHA1) + bytes(20) + struct.pack("<H", SHA256) + bytes(32)
    twice = (struct.pack("<H", SHA1) + bytes(20)) * 2
    foreign = struct.pack("<H", SHA384) + bytes(48) + struct.pack("<H", SHA1) + bytes(20)
    cases = (
        ("empty", "1", "no byte at all", b""),
        ("truncated-header", "1", "ends in the Spec ID event", header[:-1]),
        ("truncated-event-header", "1", "ends in the header of an event", header + start[:-2]),
        ("truncated-digest", "1", "ends in a digest", header + start + digests[:-1]),
        ("truncated-data", "1", "ends in the data of the last event", log[:-1]),
        ("truncated-after-pcr", "5", "ends behind the PCR of an event: four zeros are no padding", log + bytes(4)),
        ("truncated-after-zeros", "5", "the same behind an event whose data ends in zeros",
         DOUBLE.log([LoggedEvent(1, EventType.EV_ACTION, bytes(64))]) + bytes(4)),
        ("garbage-behind", "5", "what is no event behind the last one", log + b"no event begins like this"),
        ("spec-id-without-vendor-info", "3.1", "a header that ends before vendorInfoSize",
         header[:28] + struct.pack("<I", len(header) - 33) + header[32:-1]),
        ("spec-id-huge-count", "3.1", "a header that claims 2³² - 1 algorithms",
         header[:56] + b"\xff" * 4 + header[60:]),
        ("padding-mixed", "5", "0xFF with something behind it", log + b"\xff" * 64 + b"\0"),
        ("huge-data", "1", "an event that claims 4 GiB", header + start + digests + b"\xff" * 4),
        ("huge-digest-count", "3.2", "2³² - 1 digests claimed", header + struct.pack("<III", 4, 4, 0xFFFFFFFF)),
        ("more-digests-than-banks", "3.2", "three digests in a log of two banks",
         header + struct.pack("<III", 4, 4, 3) + digests + bytes(64)),
        ("digest-twice", "3.2", "two SHA-1 digests", header + start + twice + bytes(4)),
        ("digest-undeclared", "3.2", "a digest of an algorithm that the header lacks",
         header + start + foreign + bytes(4)),
        ("pcr-24", "3.2", "an extended PCR that does not exist", DOUBLE.log([separator(24)])),
        ("sha1-pcr-24", "2", "the same in TCG 1.2 format", sha1_log([separator(24)])),
        ("spec-id-no-algorithm", "3.1", "a header without algorithms", LogWriter(()).header()),
        ("spec-id-algorithm-twice", "3.1", "a header with SHA-256 twice", LogWriter((SHA256, SHA256)).header()),
        ("spec-id-wrong-size", "3.1", "SHA-256 digests of 20 bytes", LogWriter((SHA256,), {SHA256: 20}).header()),
        ("spec-id-size-zero", "3.1", "digests of no bytes",
         LogWriter((SHA256, UNKNOWN_ALGORITHM), {UNKNOWN_ALGORITHM: 0}).header()),
        ("spec-id-many-algorithms", "3.1", "more algorithms than a TPM has",
         LogWriter(tuple(range(0x7F00, 0x7F20)), dict.fromkeys(range(0x7F00, 0x7F20), 1)).header()),
        ("spec-id-in-pcr-1", "3.1", "a Spec ID event that claims PCR 1", b"\x01" + header[1:]),
        ("startup-locality-long", "4.1", "a StartupLocality event with a byte more",
         SINGLE.log([LoggedEvent(0, EventType.EV_NO_ACTION, b"StartupLocality\0\x03\0"), *BOOT])),
    )  # fmt: skip
    for name, section, description, data in cases:
        yield Vector(name, section, description, data)
    trailing = bytearray(header + SINGLE.event(VERSION))
    trailing[28:32] = struct.pack("<I", len(header) - 32 + 1)
    yield Vector("spec-id-trailing", "3.1", "a byte behind vendorInfo", bytes(trailing))


def write_all(directory: Path) -> None:
    """Write every vector below ``directory``, replacing what is there."""
    for folder in directory.iterdir() if directory.is_dir() else ():
        if folder.is_dir():
            shutil.rmtree(folder)
    for vector in (*good_vectors(), *bad_vectors()):
        vector.write(directory)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
