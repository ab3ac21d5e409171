"""What operators change about licences (policies/spec/licence.md, 7)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from sealwright_licensing.operations import licenses as operations
from sealwright_licensing.operations.terms import new_license, new_license_id
from sealwright_licensing.operators.api.bodies import LicenseChange, LicenseIssue, LicenseRenewal, Nothing, VersionFloor
from sealwright_licensing.operators.api.changes import Change, changes, make_change
from sealwright_licensing.operators.api.desk import Desk, ResourceId, principal_of
from sealwright_licensing.operators.api.licenses import require_license
from sealwright_licensing.operators.api.tags import license_tag
from sealwright_licensing.operators.guards import RepeatedError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import LicenseView, View, view_license
from sealwright_licensing.records import License
from sealwright_licensing.store import Transaction


class IssuedView(View):
    """A licence with its activation codes, which are shown once. A repeated request shows none."""

    license: LicenseView
    activation_codes: list[str]


class CodeView(View):
    """One more activation code. A repeated request shows none."""

    license_id: str
    activation_code: str | None


_CHANGE, _TERMS = Permission.LICENSES_CHANGE, Permission.LICENSES_TERMS


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/licenses", tags=["licences"])
    _add_issue(routes, desk)
    _add_changes(routes, desk)
    return routes


def _add_issue(routes: APIRouter, desk: Desk) -> None:
    @routes.post("", status_code=201, summary="Issue a licence", **changes(_TERMS, LicenseIssue, keyed=IssuedView))
    async def issue(request: Request, response: Response) -> IssuedView:
        def make(change: Change, asked: LicenseIssue) -> tuple[str, list[str]]:
            made = replace(new_license(**dict(asked), now=change.now), license_id=license_id)
            return license_id, operations.issue_license(change.store, change.actor, made, now=change.now)

        license_id = new_license_id()
        try:
            issued, codes = await make_change(desk, request, LicenseIssue, make, resource=license_id)
        except RepeatedError as repeated:
            issued, codes, response.status_code = repeated.resource, [], 200
        return IssuedView(license=await desk.run(lambda: _view(desk, issued)), activation_codes=codes)

    @routes.post("/{license_id}/codes", status_code=201, summary="Draw one more activation code",
                 **changes(_CHANGE, Nothing, keyed=CodeView, tagged=True))  # fmt: skip
    async def add_code(request: Request, response: Response, license_id: ResourceId) -> CodeView:
        def make(change: Change, _: Nothing) -> str:
            return operations.add_activation_code(change.store, change.actor, license_id, now=change.now)

        try:
            code: str | None = await make_change(
                desk, request, Nothing, make, subject=_subject(request, license_id), resource=license_id
            )
        except RepeatedError:
            code, response.status_code = None, 200
        return CodeView(license_id=license_id, activation_code=code)

    @routes.post("/{license_id}/renew", summary="Add a duration",
                 **changes(_TERMS, LicenseRenewal, keyed=LicenseView, tagged=True))  # fmt: skip
    async def renew(request: Request, license_id: ResourceId) -> LicenseView:
        def make(change: Change, asked: LicenseRenewal) -> License:
            return operations.renew_license(change.store, change.actor, license_id, **dict(asked), now=change.now)

        with suppress(RepeatedError):
            await make_change(
                desk, request, LicenseRenewal, make, subject=_subject(request, license_id), resource=license_id
            )
        return await desk.run(lambda: _view(desk, license_id))


def _add_changes(routes: APIRouter, desk: Desk) -> None:
    @routes.patch("/{license_id}", summary="Change terms", **changes(_TERMS, LicenseChange, tagged=True))
    async def change_terms(request: Request, license_id: ResourceId) -> LicenseView:
        def make(change: Change, asked: LicenseChange) -> License:
            return operations.change_terms(change.store, change.actor, license_id, asked.changes(), now=change.now)

        await make_change(desk, request, LicenseChange, make, subject=_subject(request, license_id))
        return await desk.run(lambda: _view(desk, license_id))

    @routes.post("/{license_id}/set-floor", summary="Move the lowest version that is allowed",
                 **changes(_TERMS, VersionFloor, tagged=True))  # fmt: skip
    async def set_floor(request: Request, license_id: ResourceId) -> LicenseView:
        def make(change: Change, asked: VersionFloor) -> License:
            return operations.set_version_floor(
                change.store, change.actor, license_id, asked.version, lower=asked.lower, now=change.now
            )

        await make_change(desk, request, VersionFloor, make, subject=_subject(request, license_id))
        return await desk.run(lambda: _view(desk, license_id))

    for verb, summary, operation in (
        ("suspend", "Sign no more leases until it is reinstated", operations.suspend_license),
        ("reinstate", "End a suspension", operations.reinstate_license),
        ("revoke", "Sign no more leases, for ever", operations.revoke_license),
    ):
        routes.add_api_route(
            f"/{{license_id}}/{verb}", _status_endpoint(desk, operation), methods=["POST"], name=verb,
            summary=summary, response_model=LicenseView, **changes(_CHANGE, Nothing, tagged=True),
        )  # fmt: skip


def _status_endpoint(desk: Desk, operation: Callable[..., License]) -> Callable[..., object]:
    async def endpoint(request: Request, license_id: ResourceId) -> LicenseView:
        def make(change: Change, _: Nothing) -> License:
            return operation(change.store, change.actor, license_id, now=change.now)

        await make_change(desk, request, Nothing, make, subject=_subject(request, license_id))
        return await desk.run(lambda: _view(desk, license_id))

    return endpoint


def _subject(request: Request, license_id: str) -> Callable[[Transaction], str]:
    return lambda transaction: license_tag(require_license(transaction, principal_of(request), license_id))


def _view(desk: Desk, license_id: str) -> LicenseView:
    with desk.store.read() as transaction:
        return view_license(transaction, operations.known_license(transaction, license_id))
