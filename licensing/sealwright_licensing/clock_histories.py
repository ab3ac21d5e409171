"""Two histories of one device (policies/spec/renewal.md, 5 and 6): put back, or cloned. Pure but for the last three.

Evidence that is older than the baseline, and was made after it, cannot come from a TPM that nobody has touched: its
state was put back, or a copy of it lives on. Which of both shows when the newer history goes on as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sealwright_licensing.baselines import outstanding_end, put_back
from sealwright_licensing.leases import TICK_INTERVAL_S
from sealwright_licensing.records import ClockSighting, Device, DeviceStatus
from sealwright_licensing.store import Transaction
from sealwright_policies.appraisal.clock import DEFAULT_LOSS_BOUND_MS, ClockReading
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError

RATE_TOLERANCE = 1.2
"""A TPM's Clock may run 15 % fast (TPM 2.0 Library, Part 1, 36.2); the rest is for good measure."""
DELAY_MS = 600_000
"""Age that an evidence may have: a nonce lives five minutes."""
SPARE_TICKS = 2
MOST_HISTORIES = 8
"""What is yet another history beyond so many counts as the newest one: a box must not fill the disk."""
OK = "ok"
_CLOCK_CODES = {RejectionCode.CLOCK_WENT_BACK, RejectionCode.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Finding:
    """What an evidence says about a device's histories."""

    error: VerificationError
    """What the box is told."""
    device: Device | None
    """The device as it is to be stored; None: as it was."""
    sightings: tuple[ClockSighting, ...]
    alarm: RejectionCode | None
    """Raised once, when the device is held and when a second history is found to live on."""


def find_histories(
    device: Device,
    sightings: Sequence[ClockSighting],
    result: AttestationResult,
    error: VerificationError,
    *,
    made_after: bool,
    now: int,
) -> Finding | None:
    """Judge a denied evidence of the device's own AK; None if it says nothing about histories.

    Args:
        sightings: of a held device.
        error: the denial as it stands.
        made_after: whether the nonce shows that the evidence was made after the baseline.
    """
    reading = result.reading
    if reading is None:
        return None
    if device.status is DeviceStatus.HELD:
        return _of_held(device, sightings, reading, error, now=now) if sightings else None
    code = _contradiction(device, result, reading)
    if code is None:
        return None
    if not made_after:
        if error.code not in _CLOCK_CODES or not _CLOCK_CODES.issuperset(result.codes):
            return None  # it is denied for something else as well, and a new nonce would not help
        sentence = "the evidence is older than the last one that was accepted, and so is its nonce; ask with a new one"
        return Finding(VerificationError(RejectionCode.NONCE_INVALID, sentence), None, (), None)
    because = next(one.sentence for one in result.mismatches if one.code is code)
    held = replace(put_back(device, reading, because), held_code=code.value)
    first = ClockSighting(
        device_id=device.device_id,
        number=1,
        history=1,
        seen_at=device.seen_at,
        clock_ms=device.clock_ms,
        reset_count=device.reset_count,
        restart_count=device.restart_count,
        ticks=device.ticks,
        lease_number=device.lease_number,
        code=OK,
    )
    return Finding(error, held, (first, _sighting(device, reading, number=2, history=2, code=code, now=now)), code)


def continues(last: ClockSighting, reading: ClockReading, *, now: int) -> bool:
    """Whether a TPM that showed ``last`` then can show ``reading`` now without anybody's help."""
    resets = reading.reset_count - last.reset_count
    elapsed_ms = (now - last.seen_at) * 1000
    forward_ms, ticked = reading.clock_ms - last.clock_ms, reading.ticks - last.ticks
    least_ms = 0 if resets == 0 else -DEFAULT_LOSS_BOUND_MS
    return (
        resets >= 0
        and (resets > 0 or reading.restart_count >= last.restart_count)
        and least_ms <= forward_ms <= elapsed_ms * RATE_TOLERANCE + DELAY_MS
        and 0 <= ticked <= (elapsed_ms * RATE_TOLERANCE + DELAY_MS) / 1000 / TICK_INTERVAL_S + resets + SPARE_TICKS
        and reading.lease_number >= last.lease_number
    )


def _contradiction(device: Device, result: AttestationResult, reading: ClockReading) -> RejectionCode | None:
    # Across a reset a power cut may have lost more than the bound; that is denied, and no reason for a hold.
    meaning = {RejectionCode.ROLLED_BACK}
    if reading.reset_count == device.reset_count:
        meaning.add(RejectionCode.CLOCK_WENT_BACK)
    return next((code for code in result.codes if code in meaning), None)


def _of_held(
    device: Device, sightings: Sequence[ClockSighting], reading: ClockReading, error: VerificationError, *, now: int
) -> Finding:
    newest = max(sightings, key=lambda one: one.number)
    last = _last_of_each(sightings)
    others = sorted((one for one in last.values() if one is not newest), key=lambda one: one.number, reverse=True)
    other = next((one for one in others if continues(one, reading, now=now)), None)
    if continues(newest, reading, now=now):
        history, is_cloned = newest.history, False
    else:
        history, is_cloned = (other.history, True) if other else (min(max(last) + 1, MOST_HISTORIES), False)
    number = newest.number + 1
    sighting = _sighting(device, reading, number=number, history=history, code=error.code, now=now)
    if not is_cloned:
        return Finding(error, None, (sighting,), None)
    sentence = f"History {history} of the device goes on beside history {newest.history}: its TPM lives twice."
    cloned = RejectionCode.DEVICE_CLONED
    denial = VerificationError(cloned, f"the device is held until the operator decides: {sentence}")
    changed = replace(device, held_code=cloned.value, held_because=sentence, revision=device.revision + 1)
    is_new = device.held_code != cloned.value
    return Finding(denial, changed, (replace(sighting, code=cloned.value),), cloned if is_new else None)


def _last_of_each(sightings: Sequence[ClockSighting]) -> Mapping[int, ClockSighting]:
    return {one.history: one for one in sorted(sightings, key=lambda one: one.number)}


def _sighting(
    device: Device, reading: ClockReading, *, number: int, history: int, code: RejectionCode, now: int
) -> ClockSighting:
    return ClockSighting(
        device_id=device.device_id,
        number=number,
        history=history,
        seen_at=now,
        clock_ms=reading.clock_ms,
        reset_count=reading.reset_count,
        restart_count=reading.restart_count,
        ticks=reading.ticks,
        lease_number=reading.lease_number,
        code=code.value,
    )


def store_sightings(transaction: Transaction, sightings: Sequence[ClockSighting]) -> None:
    """Keep the first and the last sighting of each history."""
    for one in sightings:
        known = transaction.find(ClockSighting, newest_first="number", device_id=one.device_id, history=one.history)
        if len(known) > 1:
            transaction.delete(ClockSighting, device_id=one.device_id, number=known[0].number)
        transaction.add(one)


def chosen_reading(transaction: Transaction, device: Device, history: int | None) -> Device:
    """The device with the last reading of the history that goes on as its baseline.

    Raises:
        UsageError: there is no such history, or the device was cloned and none was named.
    """
    if history is None:
        if device.held_code == RejectionCode.DEVICE_CLONED:
            raise UsageError("The device has two histories; say which of them goes on, or retire it.")
        return device
    sightings = transaction.find(
        ClockSighting, newest_first="number", limit=1, device_id=device.device_id, history=history
    )
    if not sightings:
        raise UsageError(f"Device {device.device_id} has no history {history}.")
    last = sightings[0]
    # All that was granted is charged already (baselines.put_back), from the ticks that are the baseline now.
    counted = min(last.ticks, outstanding_end(device))
    return replace(
        device,
        clock_ms=last.clock_ms,
        reset_count=last.reset_count,
        restart_count=last.restart_count,
        ticks=last.ticks,
        charged_ticks=device.charged_ticks + device.ticks - counted,
    )


def forget_histories(transaction: Transaction, device_id: str) -> None:
    """Forget the histories of a device whose operator has decided; the journal has the decisions."""
    transaction.delete(ClockSighting, device_id=device_id)
