"""A rule for every event of the boot log and of systemd's log (policies/spec/appraisal.md, 'Events').

An event that no rule allows is a denial. EventType is not covered by any digest, so a rule that relies on what an event
says recomputes the digest from the event's data first; where a digest alone decides, type and data only help to
explain. All functions are pure and return every mismatch they find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from sealwright_policies.appraisal.boot_ways import CALLING_EFI_APPLICATION, RETURNING_FROM_EFI_APPLICATION, SEPARATOR
from sealwright_policies.appraisal.measurements import ZERO
from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import Event, EventLog, EventType

EventsByPcr = Mapping[int, Sequence[Event]]

SHA256 = int(AlgorithmId.SHA256)
FIRMWARE_PCRS = range(8)
FIRMWARE_ERROR = b"\x01\x00\x00\x00"
"""EV_SEPARATOR of a boot with an error before it (Platform Firmware Profile 1.06, 10.4.1)."""
SEPARATORS = frozenset({SEPARATOR, b"\xff\xff\xff\xff"})

ACTIONS_OF_PCR5 = frozenset(
    {
        b"Exit Boot Services Invocation",
        b"Exit Boot Services Returned with Success",
        b"Exit Boot Services Returned with Failure",
        CALLING_EFI_APPLICATION,
        RETURNING_FROM_EFI_APPLICATION,
    }
)
"""The only EV_EFI_ACTIONs of PCR 5 (Platform Firmware Profile 1.06, 10.4.4). A failure is followed by another try. The
two about applications belong into PCR 4; ThinkPads measure them here (logs in the tests of ima-evm-utils 1.5)."""

_T = EventType
_COMMON = frozenset({_T.EV_SEPARATOR, _T.EV_ACTION, _T.EV_EFI_ACTION, _T.EV_POST_CODE, _T.EV_POST_CODE2})
_BLOBS = frozenset({_T.EV_EFI_PLATFORM_FIRMWARE_BLOB, _T.EV_EFI_PLATFORM_FIRMWARE_BLOB2})
_DRIVERS = frozenset({_T.EV_EFI_BOOT_SERVICES_DRIVER, _T.EV_EFI_RUNTIME_SERVICES_DRIVER})
_TABLES = frozenset({_T.EV_EFI_HANDOFF_TABLES, _T.EV_EFI_HANDOFF_TABLES2, _T.EV_TABLE_OF_DEVICES})
_BOOT_VARIABLES = frozenset({_T.EV_EFI_VARIABLE_BOOT, _T.EV_EFI_VARIABLE_BOOT2, _T.EV_EFI_VARIABLE_DRIVER_CONFIG})

ALLOWED_TYPES: Mapping[int, frozenset[EventType]] = {
    0: _COMMON
    | _BLOBS
    | _DRIVERS
    | {_T.EV_S_CRTM_VERSION, _T.EV_S_CRTM_CONTENTS, _T.EV_EFI_HCRTM_EVENT, _T.EV_NONHOST_CODE, _T.EV_NONHOST_INFO},
    1: _COMMON
    | _TABLES
    | _BOOT_VARIABLES
    | {_T.EV_CPU_MICROCODE, _T.EV_PLATFORM_CONFIG_FLAGS, _T.EV_NONHOST_CONFIG, _T.EV_EVENT_TAG},
    2: _COMMON | _BLOBS | _DRIVERS | {_T.EV_NONHOST_CODE, _T.EV_EFI_SPDM_FIRMWARE_BLOB},
    3: _COMMON
    | {
        _T.EV_EFI_VARIABLE_DRIVER_CONFIG,
        _T.EV_NONHOST_CONFIG,
        _T.EV_EVENT_TAG,
        _T.EV_EFI_SPDM_FIRMWARE_CONFIG,
    },
    5: frozenset(
        {
            _T.EV_SEPARATOR,
            _T.EV_EFI_ACTION,
            _T.EV_EFI_GPT_EVENT,
            _T.EV_EFI_GPT_EVENT2,
            _T.EV_EFI_VARIABLE_BOOT,
            _T.EV_EFI_VARIABLE_BOOT2,
            _T.EV_EFI_VARIABLE_DRIVER_CONFIG,
        }
    ),
    6: frozenset({_T.EV_SEPARATOR, _T.EV_ACTION, _T.EV_EFI_ACTION, _T.EV_COMPACT_HASH, _T.EV_EVENT_TAG}),
}
"""Types that the Platform Firmware Profile (1.06, 3.3.4 and table 27) has firmware measure into each PCR.
PCR 0, 2 and 3 are pinned beside that; 1, 5 and 6 are reported."""


def events_by_pcr(log: EventLog) -> dict[int, list[Event]]:
    """The events that extend, by PCR. EV_NO_ACTION never extends, and nothing here believes what it says."""
    grouped: dict[int, list[Event]] = {}
    for event in log.events:
        if event.type is not EventType.EV_NO_ACTION:
            grouped.setdefault(event.pcr, []).append(event)
    return grouped


def judge_bank(log: EventLog, events: EventsByPcr) -> list[Mismatch]:
    """The SHA-256 bank is complete: each event has its digest, each of PCR 0 to 7 its events and its separator."""
    if SHA256 not in log.banks:
        banks = "SHA-1 digests only" if set(log.banks) == {int(AlgorithmId.SHA1)} else "no SHA-256 digests"
        return [
            Mismatch(RejectionCode.BANK_INCOMPLETE, f"The firmware's log has {banks}: enable its TPM's SHA-256 bank.")
        ]
    mismatches = [
        Mismatch(
            RejectionCode.BANK_INCOMPLETE,
            "The event has no SHA-256 digest, or zeros for one: the firmware leaves the bank unextended here.",
            "boot",
            event.index,
            event.pcr,
        )
        for event in log.events
        if event.type is not EventType.EV_NO_ACTION and event.digests.get(SHA256, ZERO) == ZERO
    ]
    for pcr in FIRMWARE_PCRS:
        if not any(event.type is EventType.EV_SEPARATOR for event in events.get(pcr, ())):
            sentence = (
                "The firmware measured nothing into this PCR."
                if not events.get(pcr)
                else "The firmware never closed this PCR with a separator."
            )
            mismatches.append(Mismatch(RejectionCode.BANK_INCOMPLETE, sentence, "boot", pcr=pcr))
    return mismatches


def judge_separators(events: EventsByPcr) -> list[Mismatch]:
    """At most one separator a PCR, of a boot without error, in PCR 0 to 7 alone."""
    mismatches: list[Mismatch] = []
    for pcr in FIRMWARE_PCRS:
        separators = [event for event in events.get(pcr, ()) if event.type is EventType.EV_SEPARATOR]
        for event in separators:
            mismatches += digest_mismatch(event)
            if event.data not in SEPARATORS:
                mismatches.append(not_allowed(event, _separator_sentence(event)))
        mismatches += [not_allowed(event, "A second separator in this PCR.") for event in separators[1:]]
    return mismatches


def _separator_sentence(event: Event) -> str:
    if event.data == FIRMWARE_ERROR:
        return "The firmware reports an error before boot."
    return f"A separator of {event.data[:8].hex() or 'no bytes'}, which the profile does not know."


def judge_firmware_events(events: EventsByPcr) -> list[Mismatch]:
    """PCR 0 to 3, 5 and 6 hold only what firmware measures there; nothing outside the PCRs of the quote is used."""
    mismatches: list[Mismatch] = []
    for pcr, allowed in ALLOWED_TYPES.items():
        for event in events.get(pcr, ()):
            if event.type not in allowed:
                mismatches.append(not_allowed(event, f"{event.type_name} does not belong into this PCR."))
            elif pcr == 5 and event.type is EventType.EV_EFI_ACTION:
                mismatches += _judge_action(event)
    return mismatches


def _judge_action(event: Event) -> list[Mismatch]:
    mismatches = digest_mismatch(event)
    if event.data not in ACTIONS_OF_PCR5:
        mismatches.append(
            not_allowed(event, f"The firmware did something that no rule knows: {printable(event.data)}.")
        )
    return mismatches


def digest_mismatch(event: Event) -> list[Mismatch]:
    """Empty if the SHA-256 digest is that of the event's data. A missing digest is :func:`judge_bank`'s to find."""
    digest = event.digests.get(SHA256)
    if digest is None or digest == hashlib.sha256(event.data).digest():
        return []
    return [
        Mismatch(
            RejectionCode.EVENT_DIGEST_MISMATCH,
            f"What {event.type_name} says is not what was measured: the log was altered, or the firmware is faulty.",
            "boot",
            event.index,
            event.pcr,
            hashlib.sha256(event.data).hexdigest(),
            digest.hex(),
        )
    ]


def not_allowed(
    event: Event, sentence: str, *, code: RejectionCode = RejectionCode.EVENT_NOT_ALLOWED, expected: str | None = None
) -> Mismatch:
    """A mismatch at an event."""
    found = event.digests.get(SHA256)
    return Mismatch(code, sentence, "boot", event.index, event.pcr, expected, None if found is None else found.hex())


def sha256_digests(events: Iterable[Event]) -> list[str]:
    """SHA-256 digests in hex, empty text for an event that has none."""
    return [digest.hex() if (digest := event.digests.get(SHA256)) else "" for event in events]


def printable(data: bytes) -> str:
    """Text out of event data for a sentence: at most 120 characters, what is not printable as dots."""
    encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-8"
    text = data.decode(encoding, errors="replace").rstrip("\0")
    short = text[:120] + ("…" if len(text) > 120 else "")
    return "'" + "".join(character if character.isprintable() else "." for character in short) + "'"
