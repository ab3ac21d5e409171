"""Histories of a device that is said to be two (policies/spec/renewal.md, 6)."""

from __future__ import annotations

from dataclasses import replace

from sealwright_licensing.baselines import outstanding_end
from sealwright_licensing.records import ClockSighting, Device
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, UsageError


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
    """Forget the histories of a device whose operator has decided."""
    transaction.delete(ClockSighting, device_id=device_id)
