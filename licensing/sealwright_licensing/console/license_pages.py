"""Licences: the list, one of them, and the form for a new one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.license_operations import LICENSES, issue_fields, license_of
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.operation_forms import new_key, sent_once
from sealwright_licensing.console.pages import Console, Visit, done
from sealwright_licensing.license_views import license_fields
from sealwright_licensing.licenses import grace_end
from sealwright_licensing.operations.licenses import issue_license
from sealwright_licensing.operators.api.desk import ResourceId
from sealwright_licensing.operators.api.licenses import LicenseQuery, require_license
from sealwright_licensing.operators.guards import RepeatedError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.records import ActivationCodeRecord, Device, DeviceStatus, License, Operation
from sealwright_licensing.seats import seats_taken
from sealwright_policies.errors import SealwrightError

SHOWN_OPERATIONS = 20


def router(console: Console) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/licenses")

    @routes.get("", **opens(Permission.LICENSES_READ))
    def listed(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, LicenseQuery)
        found = find_list(
            console.desk.store, visit, License, query, order=("issued_at", "license_id"),
            equal={"product": query.product, "status": query.status}, prefix={"license_id": query.prefix},
        )  # fmt: skip
        return console.page(visit, "licenses.html", found=found)

    @routes.get("/issue", **opens(Permission.LICENSES_TERMS))
    def issue_form(request: Request) -> Response:
        visit = visit_of(request)
        return _issue_page(console, visit, None)

    @routes.post("/issue", **opens(Permission.LICENSES_TERMS))
    def issued(request: Request) -> Response:
        visit = visit_of(request)
        try:
            made = license_of(visit.form, now=visit.now)
            store = sent_once(console.desk.store, visit, made.license_id)
            codes = issue_license(store, visit.known.actor, made, now=visit.now)
        except RepeatedError as repeated:
            return done(f"/licenses/{repeated.resource}", "repeated-codes")
        except SealwrightError as error:
            return _issue_page(console, visit, error)
        target = f"/licenses/{made.license_id}"
        return console.page(visit, "codes.html", status=201, codes=codes, target=target, subject_id=made.license_id)

    @routes.get("/{license_id}", **opens(Permission.LICENSES_READ))
    def shown(request: Request, license_id: ResourceId) -> Response:
        visit = visit_of(request)
        with console.desk.store.read() as transaction:
            record = require_license(transaction, visit.known.principal, license_id)
            taken = seats_taken(transaction, license_id)
            counts = {one: transaction.count(Device, license_id=license_id, status=one.value) for one in DeviceStatus}
            unspent = transaction.count(ActivationCodeRecord, license_id=license_id, spent_at=None)
            operations = (
                transaction.find(Operation, newest_first="performed_at", limit=SHOWN_OPERATIONS, subject=license_id)
                if visit.may(Permission.OPERATIONS_READ)
                else None
            )
        return console.page(
            visit, "license.html", license=record, fields=license_fields(record, taken), counts=counts,
            unspent=unspent, phase=_phase(record, visit.now), operations=operations,
            offered=LICENSES.offered(visit, record),
        )  # fmt: skip

    return routes


def _issue_page(console: Console, visit: Visit, error: SealwrightError | None) -> Response:
    problem = console.problem_of(error) if error is not None else None
    return console.page(
        visit, "operation.html", status=problem.status if problem else 200, key="license.issue", target="/licenses",
        subject=LICENSES, subject_id="", record=None, fields=issue_fields(), details={}, once=new_key(),
        sent=visit.form.as_sent(), grave=False, problem=problem,
    )  # fmt: skip


def _phase(license_: License, now: int) -> str:
    """Where its time stands."""
    if now < license_.starts_at:
        return "future"
    if now < license_.expires_at:
        return "running"
    return "grace" if now < grace_end(license_) else "over"
