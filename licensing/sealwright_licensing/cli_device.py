"""``device list | show | resume | retire``."""

from __future__ import annotations

import argparse
import json

from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.journal import last_decision
from sealwright_licensing.records import Decision, Device, LeaseRecord
from sealwright_licensing.revocation import resume_device, retire_device
from sealwright_policies.errors import RejectionCode, VerificationError

SHOWN_DECISIONS = 10


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "device", "enrolled boxes")
    add_leaf(group, "list", _list, help_="list devices", example="sealwright-license device list /srv/license")
    for verb, run, help_ in (
        ("show", _show, "show a device, its lease and its last appraisal in words"),
        ("resume", _resume, "let a device that was held as rolled back go on"),
        ("retire", _retire, "end a device's enrolment: its seat is free, its outstanding lease counts as used"),
    ):
        leaf = add_leaf(
            group, verb, run, help_=help_, example=f"sealwright-license device {verb} /srv/license 4f7k2a…"
        )  # fmt: skip
        leaf.add_argument("device_id", metavar="DEVICE", help="its id, as its console shows it")


def _list(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        devices = transaction.find(Device, newest_first="enrolled_at")
        last = {one.device_id: last_decision(transaction, one.device_id) for one in devices}
    shown = [
        {
            "device_id": one.device_id,
            "license_id": one.license_id,
            "status": one.status.value,
            "tier": one.tier,
            "seen_at": one.seen_at,
            "last_code": decision.code if (decision := last[one.device_id]) else "",
        }
        for one in devices
    ]
    rows = [
        (one["device_id"], one["license_id"], one["status"], one["tier"], day(device.seen_at), one["last_code"])
        for one, device in zip(shown, devices, strict=True)
    ]
    print_result(
        shown, table(("device", "licence", "status", "tier", "last proof", "last"), rows), as_json=arguments.json
    )


def _show(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        device = transaction.get(Device, arguments.device_id)
        decisions = transaction.find(
            Decision, newest_first="decided_at", limit=SHOWN_DECISIONS, device_id=arguments.device_id
        )
        leases = transaction.find(LeaseRecord, newest_first="issued_at", limit=1, device_id=arguments.device_id)
    if device is None and not decisions:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, f"nothing is known of a device {arguments.device_id}")
    result = {
        "device_id": arguments.device_id,
        "device": _device_fields(device) if device else None,
        "lease": _lease_fields(leases[0]) if leases else None,
        "decisions": [_decision_fields(one) for one in decisions],
    }
    print_result(result, _words(device, leases, decisions), as_json=arguments.json)


def _device_fields(device: Device) -> dict[str, object]:
    return {
        "license_id": device.license_id,
        "status": device.status.value,
        "held_because": device.held_because,
        "tier": device.tier,
        "tpm": json.loads(device.tpm),
        "enrolled_at": device.enrolled_at,
        "seen_at": device.seen_at,
        "reset_count": device.reset_count,
        "clock_ms": device.clock_ms,
        "ticks": device.ticks,
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


def _words(device: Device | None, leases: list[LeaseRecord], decisions: list[Decision]) -> list[str]:
    lines = []
    if device is None:
        lines.append("Not enrolled.")
    else:
        tpm = json.loads(device.tpm)
        maker = " ".join(filter(None, (tpm["manufacturer"], tpm["model"], tpm["version"]))) or "unnamed"
        lines += [
            f"Device {device.device_id} is {device.status.value} under licence {device.license_id}.",
            f"TPM: {device.tier}, {maker}. Enrolled {day(device.enrolled_at)}, last proof {day(device.seen_at)} UTC.",
        ]
        if device.held_because:
            lines.append(f"Held: {device.held_because}")
    if leases:
        lines.append(f"Lease {leases[0].lease_id}, number {leases[0].number}, until {day(leases[0].expires_at)} UTC.")
    if decisions:
        newest = decisions[0]
        lines.append(f"Last appraisal, {newest.purpose} at {day(newest.decided_at)} UTC: {newest.code}")
        lines += [f"  {line}" for line in newest.words.splitlines() or [newest.sentence] if line]
    lines += [f"{day(one.decided_at)}  {one.purpose}  {one.code}  {one.sentence}".rstrip() for one in decisions[1:]]
    return lines


def _resume(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        changed = resume_device(context.store, arguments.device_id)
    print_result(
        {"device_id": changed.device_id, "status": changed.status.value},
        [f"Device {changed.device_id} is {changed.status.value}."],
        as_json=arguments.json,
    )


def _retire(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        changed = retire_device(context.store, arguments.device_id)
    print_result(
        {"device_id": changed.device_id, "status": changed.status.value},
        [f"Device {changed.device_id} is retired; its seat under {changed.license_id} is free."],
        as_json=arguments.json,
    )
