"""Roles: every route × every role, against a table that is written down here a second time."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi import APIRouter, Depends

from sealwright_licensing.operators.roles import GRANTED, Permission, Role
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OperatorDesk, problem_code

ROUTES = """
GET    /metrics                              read-only auditor operator
GET    /api/v1/status                        read-only auditor operator
GET    /api/v1/licenses                      read-only auditor operator
GET    /api/v1/licenses/{license_id}         read-only auditor operator
GET    /api/v1/devices                       read-only auditor operator
GET    /api/v1/devices/{device_id}           read-only auditor operator
GET    /api/v1/leases                        read-only auditor operator
GET    /api/v1/leases/{lease_id}             read-only auditor operator
GET    /api/v1/releases                      read-only auditor operator
GET    /api/v1/releases/{release_id}         read-only auditor operator
GET    /api/v1/decisions                     auditor operator
GET    /api/v1/decisions/{decision_id}       auditor operator
GET    /api/v1/roots                         auditor operator
GET    /api/v1/tokens                        auditor operator
GET    /api/v1/operations                    auditor operator
POST   /api/v1/tokens/{token_id}/revoke      operator
GET    /api/v1/metering/usage                auditor operator
GET    /api/v1/metering/alarms               auditor operator
POST   /api/v1/metering/{device_id}/{chain_id}/settle  operator
POST   /api/v1/licenses                      operator
PATCH  /api/v1/licenses/{license_id}         operator
POST   /api/v1/licenses/{license_id}/codes   operator
POST   /api/v1/licenses/{license_id}/renew   operator
POST   /api/v1/licenses/{license_id}/set-floor    operator
POST   /api/v1/licenses/{license_id}/suspend      operator
POST   /api/v1/licenses/{license_id}/reinstate    operator
POST   /api/v1/licenses/{license_id}/revoke       operator
POST   /api/v1/devices/{device_id}/resume    operator
POST   /api/v1/devices/{device_id}/retire    operator
POST   /api/v1/devices/{device_id}/transfer  operator
POST   /api/v1/devices/{device_id}/approve-firmware  operator
POST   /api/v1/releases/{release_id}/withdraw        operator
"""
WITHOUT_TOKEN = {"POST /api/v1/session", "GET /api/v1/session", "DELETE /api/v1/session", "GET /livez", "GET /readyz"}
"""What needs no API token: a browser's session, and health."""


def table() -> dict[str, frozenset[str]]:
    """The table by route."""
    rows = (line.split() for line in ROUTES.strip().splitlines())
    return {f"{method} {path}": frozenset(roles) for method, path, *roles in rows}


@pytest.fixture
def desk(world: LicenseWorld) -> OperatorDesk:
    return OperatorDesk.open(world)


def routes(desk: OperatorDesk) -> Iterator[tuple[str, str, object]]:
    """Method, path and route of all that the application answers."""
    described = desk.app.openapi()["paths"]
    for path, operations in described.items():
        for method in operations:
            yield method.upper(), path, operations[method]


def test_every_route_for_every_role(desk: OperatorDesk) -> None:
    """A route that the table does not name fails the test, and so does one that lets in whom it should not."""
    expected = table()
    seen = {}
    for method, path, _ in routes(desk):
        if f"{method} {path}" in WITHOUT_TOKEN:
            continue
        filled = re.sub(r"\{\w+\}", "none", path)
        allowed = set()
        for role in Role:
            headers = {"Authorization": f"Bearer {desk.tokens[role]}"}
            reply = desk.client.request(method, filled, headers=headers)
            if reply.status_code == 403:
                assert problem_code(reply, 403) == "FORBIDDEN"
            else:
                allowed.add(role.value)
        seen[f"{method} {path}"] = frozenset(allowed)
    assert seen == expected


def test_a_route_without_a_permission_is_open_to_nobody(desk: OperatorDesk) -> None:
    """Somebody forgets to name one: the guard of all routes denies it, also to an operator."""
    guarded = APIRouter(prefix="/api/v1", dependencies=[Depends(desk.app.state.desk.guard)])
    guarded.add_api_route("/forgotten", lambda: {"secret": True}, include_in_schema=False)
    desk.app.include_router(guarded)
    assert problem_code(desk.ask("/forgotten"), 403) == "FORBIDDEN"


def test_without_a_token_nobody_gets_anything(desk: OperatorDesk) -> None:
    for method, path, _ in routes(desk):
        if f"{method} {path}" in WITHOUT_TOKEN:
            continue
        for header in (None, "Basic eDp5", "Bearer ", "Bearer x", f"Token {desk.tokens[Role.OPERATOR]}"):
            headers = {} if header is None else {"Authorization": header}
            reply = desk.client.request(method, re.sub(r"\{\w+\}", "none", path), headers=headers)
            assert problem_code(reply, 401) == "UNAUTHENTICATED"
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_each_role_may_what_the_one_before_may() -> None:
    assert GRANTED[Role.READ_ONLY] < GRANTED[Role.AUDITOR] < GRANTED[Role.OPERATOR] == frozenset(Permission)


def test_a_bound_token_sees_its_licences_alone(desk: OperatorDesk) -> None:
    """Other licences, their boxes, leases and decisions do not exist for it; the service itself is out of reach."""
    world = desk.world
    own, (own_code,) = world.issue()
    other, (other_code,) = world.issue()
    device, foreign = world.device(0), world.device(1)
    world.enroll(device, own_code)
    world.enroll(foreign, other_code)
    token = desk.token("bound", Role.OPERATOR, licenses=[own.license_id])
    assert [one["license_id"] for one in desk.get("/licenses", token=token)["items"]] == [own.license_id]
    assert [one["device_id"] for one in desk.get("/devices", token=token)["items"]] == [device.device_id]
    for kind in ("leases", "decisions"):
        mine = desk.get(f"/{kind}", token=token)["items"]
        everything = desk.get(f"/{kind}")["items"]
        assert {one["license_id"] for one in mine} == {own.license_id}
        assert {one["license_id"] for one in everything} == {own.license_id, other.license_id}
        (hidden,) = (one for one in everything if one["license_id"] == other.license_id)
        identity = hidden.get("lease_id") or hidden["decision_id"]
        assert problem_code(desk.ask(f"/{kind}/{identity}", token=token), 404) == "NOT_FOUND"
    assert desk.get(f"/licenses?prefix={other.license_id}", token=token)["items"] == []
    assert problem_code(desk.ask(f"/licenses/{other.license_id}", token=token), 404) == "LICENSE_UNKNOWN"
    assert problem_code(desk.ask(f"/devices/{foreign.device_id}", token=token), 404) == "DEVICE_UNKNOWN"
    for path in ("/releases", "/status", "/tokens", "/roots"):
        assert problem_code(desk.ask(path, token=token), 403) == "FORBIDDEN"
