"""Rules about the TPM's clock and our counters (policies/spec/appraisal.md, 'Clock').

A TPM shows (resetCount, Clock). A hard power cut takes Clock back to its last save in NV, so order is by resetCount
first, and a loss is allowed only across a reset. Lower values than those held mean that the TPM's state was put back.
Pure: what was held is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.errors import RejectionCode

MINUTE_MS = 60_000
DEFAULT_LOSS_BOUND_MS = 70 * MINUTE_MS
"""About 2²² ms: how far Clock may fall behind NV at a power cut (TPM 2.0 Library, Part 1, 36.3)."""
CLOCK_FAR_AHEAD_MS = 1 << 62
"""From here on no lease can end in the TPM's own time; only TPM2_Clear sets Clock to zero."""

PINNED_PCRS = (0, 2, 3)
"""Firmware and option ROMs: pinned per device, changes need an operator's approval."""
REPORTED_PCRS = (1, 5, 6)
"""Settings, boot order, partitions, maker's use: changes are reported."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What one evidence message shows, each value signed by the AK."""

    reset_count: int
    restart_count: int
    clock_ms: int
    ticks: int
    lease_number: int


@dataclass(frozen=True, slots=True)
class DeviceBaseline:
    """What is held of a device since its last accepted evidence."""

    reset_count: int
    restart: int
    clock_ms: int
    ticks: int
    lease_number: int
    pinned: Mapping[int, bytes] = field(default_factory=dict)
    """PCR 0, 2 and 3."""
    reported: Mapping[int, bytes] = field(default_factory=dict)
    """PCR 1, 5 and 6."""
    approved: Mapping[int, bytes] = field(default_factory=dict)
    """PCR 0, 2 and 3 that an operator has approved beside the pinned ones; all three, or none."""


@dataclass(frozen=True, slots=True)
class ClockVerdict:
    """Mismatches, sentences for people, and the Clock lost since the baseline in milliseconds."""

    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...]
    loss_ms: int


def judge_clock(
    reading: ClockReading, baseline: DeviceBaseline | None, *, loss_bound_ms: int = DEFAULT_LOSS_BOUND_MS
) -> ClockVerdict:
    """Hold a reading against what is held.

    Args:
        reading: of the evidence.
        baseline: of the device; None at enrolment.
        loss_bound_ms: how much Clock a reset may lose on TPMs of this tier.
    """
    if baseline is None:
        return ClockVerdict((), _far_ahead(reading), 0)
    mismatches: list[Mismatch] = []
    loss_ms = 0
    if reading.reset_count < baseline.reset_count:
        mismatches.append(_rolled_back("resetCount", baseline.reset_count, reading.reset_count))
    elif reading.reset_count == baseline.reset_count:
        if reading.restart_count < baseline.restart:
            mismatches.append(_rolled_back("restartCount", baseline.restart, reading.restart_count))
        if reading.clock_ms < baseline.clock_ms:
            mismatches.append(_went_back(reading, baseline, "without a TPM reset"))
    else:
        loss_ms = max(0, baseline.clock_ms - reading.clock_ms)
        if loss_ms > loss_bound_ms:
            mismatches.append(_went_back(reading, baseline, f"more than the {loss_bound_ms} ms a power cut may lose"))
    if reading.ticks < baseline.ticks:
        mismatches.append(_rolled_back("tick counter", baseline.ticks, reading.ticks))
    if reading.lease_number < baseline.lease_number:
        mismatches.append(_rolled_back("lease counter", baseline.lease_number, reading.lease_number))
    return ClockVerdict(tuple(mismatches), _far_ahead(reading) + _notes(reading, baseline, loss_ms), loss_ms)


def _rolled_back(what: str, held: int, shown: int) -> Mismatch:
    return Mismatch(
        RejectionCode.ROLLED_BACK,
        f"The {what} is {shown}, but {held} was seen before: the TPM's state was put back, or it is another TPM.",
        expected=f"at least {held}",
        found=str(shown),
    )


def _went_back(reading: ClockReading, baseline: DeviceBaseline, how: str) -> Mismatch:
    return Mismatch(
        RejectionCode.CLOCK_WENT_BACK,
        f"The TPM clock went back by {baseline.clock_ms - reading.clock_ms} ms, {how}.",
        expected=f"at least {baseline.clock_ms}",
        found=str(reading.clock_ms),
    )


def _notes(reading: ClockReading, baseline: DeviceBaseline, loss_ms: int) -> tuple[str, ...]:
    notes = []
    if loss_ms:
        notes.append(f"A power cut lost {loss_ms} ms of the TPM clock; they are charged to the licence.")
    resets = reading.reset_count - baseline.reset_count
    if resets > 0:
        notes.append(f"The TPM was reset {resets} times since the last evidence.")
    return tuple(notes)


def _far_ahead(reading: ClockReading) -> tuple[str, ...]:
    if reading.clock_ms < CLOCK_FAR_AHEAD_MS:
        return ()
    return ("The TPM clock was set so far ahead that only TPM2_Clear and an approved re-enrolment help.",)
