"""A device as it is shown: members for programs, sentences for people."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sealwright_licensing.baselines import stored_pcrs
from sealwright_licensing.firmware import event_difference, firmware_digest
from sealwright_licensing.records import ClockSighting, Decision, Device, DeviceFirmware, LeaseRecord, Operation
from sealwright_licensing.store import Transaction

SHOWN_DECISIONS = 10
SHOWN_SIGHTINGS = 20


@dataclass(frozen=True, slots=True)
class DeviceView:
    """All that the store has about a device, newest first."""

    device_id: str
    device: Device | None
    lease: LeaseRecord | None
    firmware: DeviceFirmware | None
    sightings: Sequence[ClockSighting]
    decisions: Sequence[Decision]
    operations: Sequence[Operation]


def device_view(transaction: Transaction, device_id: str) -> DeviceView:
    """Read what there is of a device."""
    leases = transaction.find(LeaseRecord, newest_first="issued_at", limit=1, device_id=device_id)
    return DeviceView(
        device_id,
        transaction.get(Device, device_id),
        leases[0] if leases else None,
        transaction.get(DeviceFirmware, device_id),
        transaction.find(ClockSighting, newest_first="number", limit=SHOWN_SIGHTINGS, device_id=device_id),
        transaction.find(Decision, newest_first="decided_at", limit=SHOWN_DECISIONS, device_id=device_id),
        transaction.find(Operation, newest_first="performed_at", limit=SHOWN_DECISIONS, subject=device_id),
    )


def device_fields(view: DeviceView) -> dict[str, object]:
    """For programs."""
    return {
        "device_id": view.device_id,
        "device": _enrolment_fields(view.device) if view.device else None,
        "lease": _lease_fields(view.lease) if view.lease else None,
        "firmware": firmware_fields(view),
        "histories": [asdict(one) for one in view.sightings],
        "decisions": [_decision_fields(one) for one in view.decisions],
        "operations": [_operation_fields(one) for one in view.operations],
    }


def device_words(view: DeviceView) -> list[str]:
    """For people."""
    lines = _enrolment_words(view.device) if view.device else ["Not enrolled."]
    if view.lease:
        lines.append(
            f"Lease {view.lease.lease_id}, number {view.lease.number}, until {_day(view.lease.expires_at)} UTC."
        )
    lines += _firmware_words(view) + _history_words(view.sightings)
    if view.decisions:
        newest = view.decisions[0]
        lines.append(f"Last appraisal, {newest.purpose} at {_day(newest.decided_at)} UTC: {newest.code}")
        lines += [f"  {line}" for line in newest.words.splitlines() or [newest.sentence] if line]
    lines += [
        f"{_day(one.decided_at)}  {one.purpose}  {one.code}  {one.sentence}".rstrip() for one in view.decisions[1:]
    ]
    lines += [f"{_day(one.performed_at)}  {one.operation}  by {one.actor_kind} {one.actor}" for one in view.operations]
    return lines


def firmware_fields(view: DeviceView) -> dict[str, object] | None:
    """The pinned firmware and, if the device has shown another, that one, its digest and what is different."""
    if view.device is None:
        return None
    pinned, shown = stored_pcrs(view.device.pinned_pcrs), stored_pcrs(view.firmware.shown_pcrs) if view.firmware else {}
    fields: dict[str, object] = {"pinned": pinned, "approved": stored_pcrs(view.device.approved_pcrs)}
    if shown and view.firmware:
        fields |= {
            "shown": shown,
            "shown_at": view.firmware.shown_at,
            "digest": firmware_digest(shown),
            "difference": event_difference(view.firmware),
        }
    return fields


def _enrolment_fields(device: Device) -> dict[str, object]:
    return {
        "license_id": device.license_id,
        "status": device.status.value,
        "held_because": device.held_because,
        "held_code": device.held_code,
        "tier": device.tier,
        "tpm": json.loads(device.tpm),
        "enrolled_at": device.enrolled_at,
        "seen_at": device.seen_at,
        "reset_count": device.reset_count,
        "clock_ms": device.clock_ms,
        "ticks": device.ticks,
        "charged_ticks": device.charged_ticks,
        "lease_number": device.lease_number,
    }


def _lease_fields(lease: LeaseRecord) -> dict[str, object]:
    return {
        "lease_id": lease.lease_id,
        "release_id": lease.release_id,
        "number": lease.number,
        "expires_at": lease.expires_at,
        "clock_end_ms": lease.clock_end_ms,
        "max_reset_count": lease.max_reset_count,
        "max_ticks": lease.max_ticks,
    }


def _decision_fields(decision: Decision) -> dict[str, object]:
    return {
        "purpose": decision.purpose,
        "code": decision.code,
        "sentence": decision.sentence,
        "decided_at": decision.decided_at,
        "result": json.loads(decision.result) if decision.result else None,
        "words": decision.words.splitlines(),
    }


def _operation_fields(operation: Operation) -> dict[str, object]:
    return {
        "operation": operation.operation,
        "actor_kind": operation.actor_kind,
        "actor": operation.actor,
        "performed_at": operation.performed_at,
        "detail": json.loads(operation.detail),
    }


def _enrolment_words(device: Device) -> list[str]:
    tpm = json.loads(device.tpm)
    maker = " ".join(filter(None, (tpm["manufacturer"], tpm["model"], tpm["version"]))) or "unnamed"
    lines = [
        f"Device {device.device_id} is {device.status.value} under licence {device.license_id}.",
        f"TPM: {device.tier}, {maker}. Enrolled {_day(device.enrolled_at)}, last proof {_day(device.seen_at)} UTC.",
    ]
    if device.held_because:
        lines.append(f"Held: {device.held_because}")
    return lines


def _firmware_words(view: DeviceView) -> list[str]:
    firmware = firmware_fields(view)
    if firmware is None or view.firmware is None or "shown" not in firmware or view.device is None:
        return []
    pinned, shown = stored_pcrs(view.device.pinned_pcrs), stored_pcrs(view.firmware.shown_pcrs)
    lines = [f"Changed firmware was shown {_day(view.firmware.shown_at)} UTC, digest {firmware['digest']}:"]
    lines += [
        f"  PCR {pcr} was {pinned.get(pcr, '')}, is {shown[pcr]}" for pcr in shown if pinned.get(pcr) != shown[pcr]
    ]
    lines += [f"  {line}" for line in event_difference(view.firmware)]
    if view.device.approved_pcrs == view.firmware.shown_pcrs:
        lines.append("  It is approved; the next evidence that shows it pins it.")
    return lines


def _history_words(sightings: Sequence[ClockSighting]) -> list[str]:
    return [
        f"History {one.history}, {_day(one.seen_at)} UTC: clock {one.clock_ms} ms, {one.reset_count} resets, "
        f"{one.restart_count} restarts, {one.ticks} ticks, lease counter {one.lease_number}: {one.code}"
        for one in sightings
    ]


def _day(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")
