"""What an appraisal found, and the boot that it was about, event by event."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sealwright_licensing.appraised_logs import denied_logs, kept_logs
from sealwright_licensing.journal import OK
from sealwright_licensing.records import Decision, Device
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import FormatError, OperationError, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.event_text import describe_event
from sealwright_policies.tcg.eventlog import Event, parse_event_log
from sealwright_policies.tcg.userspacelog import UserspaceEvent, parse_userspace_log

MOST_TEXT = 240
"""Characters of what an event says; the machine's own word, so as long as it likes."""
JUDGED, REPORTED = frozenset({0, 2, 3, 4, 7, 9, 11, 12, 13, 14, 15}), frozenset({1, 5, 6})
"""PCRs whose events a release or the pinned firmware allows, and those that may change and are reported."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event."""

    log: str
    index: int
    pcr: int | None
    type_name: str
    said: str
    digest: str
    verdict: str
    """``allowed``, ``reported`` or ``unmeasured``; of a denied boot ``wrong``, ``suspect`` (in a PCR that is wrong) or
    ``unremarked`` in place of ``allowed``."""
    code: str = ""
    """What was found against this event."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found against evidence."""

    code: str
    sentence: str
    log: str
    index: int | None
    pcr: int | None
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Appraisal:
    """A decision, explained."""

    decision: Decision
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    vector: Mapping[str, int]
    """Trustworthiness claims (AR4SI): 2 affirming, 96 contraindicated, 0 none."""
    words: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether it was granted."""
        return self.decision.code == OK


def explain(decision: Decision) -> Appraisal:
    """What a stored decision says."""
    result: dict[str, Any] = json.loads(decision.result) if decision.result else {}
    ours: dict[str, Any] = result.get("sealwright", {})
    box: dict[str, Any] = result.get("submods", {}).get("box", {})
    return Appraisal(
        decision,
        tuple(_finding(one) for one in ours.get("mismatches", ())),
        tuple(map(str, ours.get("notes", ()))),
        box.get("ear.trustworthiness-vector", {}),
        tuple(decision.words.splitlines()),
    )


def accepted_events(transaction: Transaction, device: Device) -> list[EventRow]:
    """Events of the last accepted evidence; none where its logs are not kept any more."""
    return _rows(lambda: kept_logs(transaction, device.device_id, device.boot_logs_digest))


def denied_events(transaction: Transaction, appraisal: Appraisal) -> list[EventRow]:
    """Events of the evidence that was denied, each with what was found against it; none where its logs are not kept."""
    by_event = {(one.log, one.index): one.code for one in appraisal.findings}
    wrong_pcrs = {one.pcr for one in appraisal.findings if one.index is None}

    def judged(row: EventRow) -> EventRow:
        if code := by_event.get((row.log, row.index), ""):
            return replace(row, verdict="wrong", code=code)
        if row.verdict == "allowed":
            return replace(row, verdict="suspect" if row.pcr in wrong_pcrs else "unremarked")
        return row

    return [judged(row) for row in _rows(lambda: denied_logs(transaction, appraisal.decision))]


def _rows(logs: Callable[[], tuple[bytes, bytes] | None]) -> list[EventRow]:
    try:
        found = logs()
        if found is None:
            return []
        boot, userspace = found
        return [
            *(_boot_row(event) for event in parse_event_log(boot).events),
            *(_userspace_row(event) for event in parse_userspace_log(userspace)),
        ]
    except (VerificationError, OperationError, FormatError):
        return []


def _boot_row(event: Event) -> EventRow:
    digest = event.digests.get(AlgorithmId.SHA256, b"").hex()
    said = _flat(describe_event(event))
    verdict = _verdict(event.pcr) if event.extends else "unmeasured"
    return EventRow("boot", event.index, event.pcr, event.type_name, said, digest, verdict)


def _userspace_row(event: UserspaceEvent) -> EventRow:
    digest = event.digests.get(AlgorithmId.SHA256, b"").hex()
    said = event.string[:MOST_TEXT] or _flat(event.content)
    verdict = "unmeasured" if event.pcr is None else _verdict(event.pcr)
    return EventRow("userspace", event.index, event.pcr, event.event_type or event.content_type, said, digest, verdict)


def _verdict(pcr: int) -> str:
    if pcr in JUDGED:
        return "allowed"
    return "reported" if pcr in REPORTED else "unmeasured"


def _flat(said: Mapping[str, Any]) -> str:
    """Members as text, cut."""
    parts = (f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in said.items())
    text = ", ".join(parts)
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _finding(mismatch: Mapping[str, Any]) -> Finding:
    return Finding(
        code=str(mismatch["code"]),
        sentence=str(mismatch["sentence"]),
        log=str(mismatch.get("log", "")),
        index=mismatch.get("event_index"),
        pcr=mismatch.get("pcr"),
        expected=str(mismatch.get("expected", "")),
        found=str(mismatch.get("found", "")),
    )
