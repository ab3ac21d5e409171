"""What is held of a device between two evidence messages, as records and as the appraisal wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from sealwright_licensing.records import Device, DeviceStatus
from sealwright_policies.appraisal.clock import ClockReading, DeviceBaseline
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.wire.encoding import pcr_bytes, pcr_values

NO_PCRS = "{}"


def pcrs_json(values: Mapping[int, bytes]) -> str:
    """PCR values as they are stored."""
    return json.dumps(pcr_values(values), separators=(",", ":"))


def stored_pcrs(text: str) -> dict[str, str]:
    """PCR values of a record, as documents want them."""
    values: dict[str, str] = json.loads(text)
    return values


def device_baseline(device: Device) -> DeviceBaseline:
    """What the next evidence of a device is held against."""
    return DeviceBaseline(
        reset_count=device.reset_count,
        restart=device.restart_count,
        clock_ms=device.clock_ms,
        ticks=device.ticks,
        lease_number=device.lease_number,
        pinned=pcr_bytes(stored_pcrs(device.pinned_pcrs)),
        reported=pcr_bytes(stored_pcrs(device.reported_pcrs)),
        approved=pcr_bytes(stored_pcrs(device.approved_pcrs)),
    )


def with_baseline(device: Device, baseline: DeviceBaseline, *, now: int) -> Device:
    """The device with what an accepted evidence proved now; the way back from :func:`device_baseline`.

    An approval of other firmware is spent when that is shown.
    """
    pinned = pcrs_json(baseline.pinned)
    return replace(
        device,
        pinned_pcrs=pinned,
        approved_pcrs=NO_PCRS if pinned == device.approved_pcrs else device.approved_pcrs,
        reported_pcrs=pcrs_json(baseline.reported),
        seen_at=now,
        clock_ms=baseline.clock_ms,
        reset_count=baseline.reset_count,
        restart_count=baseline.restart,
        ticks=baseline.ticks,
        lease_number=baseline.lease_number,
    )


def outstanding_end(device: Device) -> int:
    """The tick count up to which the device may have run: to the end of its leases, or on behind it."""
    return max(device.granted_ticks, device.ticks)


def put_back(device: Device, shown: ClockReading, because: str) -> Device:
    """The device after authentic evidence that its TPM's state was put back (policies/spec/renewal.md, 5).

    What the TPM shows is the baseline from now on, and since it can run its whole lease once more, all that was granted
    counts as used. The lease number stays: leases above the one shown are signed already and in the box's hands.
    """
    ticks = min(shown.ticks, device.ticks)
    return replace(
        device,
        status=DeviceStatus.HELD,
        held_because=because,
        revision=device.revision + 1,
        clock_ms=shown.clock_ms,
        reset_count=shown.reset_count,
        restart_count=shown.restart_count,
        ticks=ticks,
        charged_ticks=device.charged_ticks + outstanding_end(device) - ticks,
    )


def affirmed(result: AttestationResult) -> DeviceBaseline:
    """The new baseline of a result; an affirming one has it.

    Raises:
        VerificationError: the result is contraindicated.
    """
    result.require_affirming()
    assert result.baseline is not None  # noqa: S101 - by its contract
    return result.baseline
