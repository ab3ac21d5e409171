"""Devices: the list, and one of them with its last appraisal explained."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.device_operations import DEVICES
from sealwright_licensing.console.event_table import accepted_events, denied_events, explain
from sealwright_licensing.console.fleet import lease_ends
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.pages import Console, Visit
from sealwright_licensing.device_views import device_view, firmware_fields
from sealwright_licensing.metering_records import MeteringReceipt
from sealwright_licensing.operators.api.desk import ResourceId
from sealwright_licensing.operators.api.devices import DeviceQuery, require_device
from sealwright_licensing.operators.errors import OperatorError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.records import Decision, Device, DeviceRelease, LeaseRecord, ReleaseRecord
from sealwright_licensing.store import Transaction

SHOWN_LEASES = 5


def router(console: Console) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    store = console.desk.store

    @routes.get("/devices", **opens(Permission.DEVICES_READ))
    def listed(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, DeviceQuery)
        found = find_list(
            store, visit, Device, query, order=("enrolled_at", "device_id"),
            equal={"license_id": query.license_id, "status": query.status, "tier": query.tier},
            prefix={"device_id": query.prefix},
        )  # fmt: skip
        ends = lease_ends(store.engine, [one.device_id for one in found.rows])
        return console.page(visit, "devices.html", found=found, ends=ends)

    @routes.get("/devices/{device_id}", **opens(Permission.DEVICES_READ))
    def shown(request: Request, device_id: ResourceId) -> Response:
        return _device_page(console, visit_of(request), device_id)

    @routes.get("/decisions/{decision_id}", **opens(Permission.DECISIONS_READ))
    def decision(request: Request, decision_id: ResourceId) -> Response:
        visit = visit_of(request)
        with store.read() as transaction:
            record = transaction.get(Decision, decision_id)
            if record is None or not visit.known.principal.sees(record.license_id):
                raise OperatorError(404, "NOT_FOUND", f"There is no decision {decision_id}.")
            appraisal = explain(record)
            events = denied_events(transaction, appraisal)
        return console.page(visit, "decision.html", appraisal=appraisal, events=events)

    return routes


def _device_page(console: Console, visit: Visit, device_id: str) -> Response:
    with console.desk.store.read() as transaction:
        device = require_device(transaction, visit.known.principal, device_id)
        seen = device_view(transaction, device_id)
        leases = transaction.find(LeaseRecord, newest_first="issued_at", limit=SHOWN_LEASES, device_id=device_id)
        disputed = transaction.count_by(MeteringReceipt, "chain_id", device_id=device_id, disputed=True)
        releases = _releases(transaction, device_id)
        appraisal = explain(seen.decisions[0]) if seen.decisions else None
        denied = denied_events(transaction, appraisal) if appraisal else []
        events = accepted_events(transaction, device)
    return console.page(
        visit,
        "device.html",
        device=device,
        tpm=json.loads(device.tpm),
        leases=leases,
        releases=releases,
        firmware=_changed_firmware(firmware_fields(seen)),
        histories=seen.sightings,
        appraisal=appraisal,
        denied=denied,
        events=events,
        decisions=seen.decisions if visit.may(Permission.DECISIONS_READ) else None,
        operations=seen.operations if visit.may(Permission.OPERATIONS_READ) else None,
        disputed=disputed,
        offered=DEVICES.offered(visit, device),
        may_change=visit.may(DEVICES.permission),
    )


def _releases(transaction: Transaction, device_id: str) -> list[tuple[DeviceRelease, ReleaseRecord | None]]:
    """Releases that a device has shares for, the one last proved first."""
    held = transaction.find(DeviceRelease, newest_first="seen_at", device_id=device_id)
    return [(one, transaction.get(ReleaseRecord, one.release_id)) for one in held]


def _changed_firmware(fields: dict[str, object] | None) -> dict[str, object] | None:
    """Only where the device has shown values that are neither pinned nor approved."""
    if fields is None or "shown" not in fields or fields["shown"] == fields["pinned"]:
        return None
    return fields
