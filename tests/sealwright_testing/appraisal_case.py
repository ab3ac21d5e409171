"""One vector of ``tests/vectors/appraisal/``: what evidence is made for it, and what it must come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sealwright_policies.appraisal.clock import DeviceBaseline
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.messages import Evidence
from sealwright_testing.event_logs import LoggedEvent, LogWriter
from sealwright_testing.evidence_factory import SyntheticBox, measured, replaced
from sealwright_testing.software_tpm import ALG_SHA256

Events = list[LoggedEvent]


@dataclass(frozen=True)
class Case:
    """One vector. ``expected`` lists all codes in order; empty means affirming."""

    description: str
    section: str
    evidence: Callable[[SyntheticBox], Evidence]
    expected: tuple[RejectionCode, ...] = ()
    baseline: DeviceBaseline | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    outcome: str | None = None
    """``malformed`` or ``unsupported``, where there is no result."""
    variants: Callable[[SyntheticBox], bytes] | None = None
    """Ways through PCR 4 that were signed after the build."""


def plain(**changes: Any) -> Callable[[SyntheticBox], Evidence]:
    """Evidence with these arguments."""
    return lambda box: box.evidence(**changes)


def booted(change: Callable[[SyntheticBox, Events], Events]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which other events were measured and logged."""
    return lambda box: box.evidence(events=change(box, box.boot_events()))


def added(*events: LoggedEvent) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which these were measured too, last."""
    return booted(lambda _, before: [*before, *events])


def inserted_before_separator(event: LoggedEvent) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which firmware measured this too."""

    def change(_: SyntheticBox, events: Events) -> Events:
        first = next(index for index, each in enumerate(events) if each.type == EventType.EV_SEPARATOR)
        return [*events[:first], event, *events[first:]]

    return booted(change)


def before_uki(*further: LoggedEvent) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which these were measured right before the release's kernel image."""
    started = EventType.EV_EFI_BOOT_SERVICES_APPLICATION
    return booted(lambda _, e: [*[x for x in e if x.type != started], *further, *[x for x in e if x.type == started]])


def without(keep: Callable[[LoggedEvent], bool]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which some events were not measured."""
    return booted(lambda _, events: [event for event in events if keep(event)])


def hidden(keep: Callable[[LoggedEvent], bool]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence whose log leaves out events that were measured."""
    return lambda box: box.evidence(boot_log=LogWriter().log(event for event in box.boot_events() if keep(event)))


def said(words: list[tuple[int, str]]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence in which systemd measured these words."""
    return lambda box: box.evidence(userspace=words)


def changed(pcr: int, position: int, content: bytes) -> Callable[[SyntheticBox], Evidence]:
    """Evidence in which one event is of other content, its description the same."""
    digests = {ALG_SHA256: measured(pcr, 0, content, b"").digest(ALG_SHA256)}
    return booted(lambda _, events: replaced(events, pcr, position, digests=digests))
