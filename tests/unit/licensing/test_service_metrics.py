"""Metrics, health and logs: what Prometheus is told, when a process is ready, what a log line may hold."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sealwright_ansible
from sealwright_custody.keeper import Keeper
from sealwright_licensing import schema
from sealwright_licensing.key_retirement import forget_key
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.logs import begin_request, formatter, logger
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import DeviceStatus
from sealwright_licensing.rotation import Rotation
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OPERATOR, OperatorDesk, problem_code


@pytest.fixture
def desk(world: LicenseWorld) -> OperatorDesk:
    return OperatorDesk.open(world)


def figures(desk: OperatorDesk) -> dict[str, float]:
    """Every figure by its name and labels."""
    headers = {"Authorization": f"Bearer {desk.tokens[Role.READ_ONLY]}"}
    reply = desk.client.get("/metrics", headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    lines = (line.rpartition(" ") for line in reply.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_the_fleets_figures(desk: OperatorDesk) -> None:
    box = EnrolledDevice.enroll(desk.world)
    with desk.world.store.write() as transaction:
        held = dataclasses.replace(
            box.stored(), device_id="b" * 52, status=DeviceStatus.HELD, held_code="ROLLED_BACK", revision=1
        )
        transaction.put(held)
    desk.world.issue(days=5)
    seen = figures(desk)
    assert seen['sealwright_license_devices{status="live"}'] == 1
    assert seen['sealwright_license_devices{status="held"}'] == 1
    assert seen['sealwright_license_holds{code="ROLLED_BACK"}'] == 1
    assert seen['sealwright_license_licenses{status="active"}'] == 2
    assert seen['sealwright_license_licenses_ending{days="7"}'] == 1
    assert seen['sealwright_license_licenses_ending{days="1"}'] == 0
    assert seen['sealwright_license_releases{withdrawn="false"}'] == 1
    assert seen["sealwright_license_pending_enrollments"] == 0


def ends(desk: OperatorDesk) -> dict[tuple[str, str], float]:
    """When certificates end, by what they are of and by their keys."""
    name = "sealwright_license_certificate_not_after_seconds"
    return {
        (found["certificate"], found["key"]): value
        for found, value in ((_labels(one), value) for one, value in figures(desk).items() if one.startswith(name))
    }


def of_keyring(world: LicenseWorld, *roles: KeyRole, only_current: bool = False) -> set[tuple[str, str]]:
    entries = [one for one in load_keyring(world.folder.keys).keys if one.role in roles]
    return {(one.role.value, one.fingerprint[:16]) for one in entries if one.current or not only_current}


def test_the_ends_of_certificates_in_use(desk: OperatorDesk) -> None:
    """The TLS server's present one; authorities for as long as an image knows them."""
    world, authorities = desk.world, (KeyRole.TLS_CA, KeyRole.DEVICE_CA)
    first = ends(desk)
    assert set(first) == of_keyring(world, KeyRole.TLS_SERVER, *authorities)
    assert all(end > world.now for end in first.values())

    world.now += 86_400
    for role in (KeyRole.TLS_SERVER, *authorities):
        world.rotate(role)
    rotated = ends(desk)
    servers = of_keyring(world, KeyRole.TLS_SERVER, only_current=True)
    assert set(rotated) == servers | of_keyring(world, *authorities)
    assert rotated[servers.pop()] == first[next(one for one in first if one[0] == "tls-server")] + 86_400
    (successor,) = of_keyring(world, KeyRole.TLS_CA, only_current=True)
    (last,) = of_keyring(world, KeyRole.TLS_CA) - {successor}
    assert rotated[successor] <= rotated[last], "boxes that know the last one follow its certificate for the next"

    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=world.now)
    for role in authorities:
        earlier = load_keyring(world.folder.keys).all_of(role)[1].fingerprint
        forget_key(world.folder.keys, Keeper(world.folder.keys), world.store, OPERATOR, earlier, now=world.now)
    Rotation(world.folder, Keeper(world.folder.keys)).renew_server_certificate(now=world.now)
    assert set(ends(desk)) == of_keyring(world, KeyRole.TLS_SERVER, *authorities, only_current=True)


def test_the_operators_process_is_given_what_these_figures_need(desk: OperatorDesk, tmp_path: Path) -> None:
    """On a deployed host; of the private keys it gets the TLS server's present one, whatever was rotated."""
    world, given = desk.world, tmp_path / "given"
    (given / "left").mkdir(parents=True)
    before = ends(desk)
    for role in KeyRole:
        world.rotate(role)
    script = Path(sealwright_ansible.__file__).parent / "roles/license_server/files/sealwright-license-operators-keys"
    for _ in range(2):
        subprocess.run([sys.executable, str(script), str(world.folder.keys), str(given)], check=True)
    secret = [path.name for path in given.rglob("*") if path.suffix in (".pem", ".key")]
    current = load_keyring(world.folder.keys).current(KeyRole.TLS_SERVER)
    assert secret == [str(current.keeper).removeprefix("file:")]
    assert not (given / "left").exists()
    shutil.rmtree(world.folder.keys)
    given.rename(world.folder.keys)
    assert set(ends(desk)) > set(before) - {one for one in before if one[0] == "tls-server"}


def test_requests_are_counted_by_route_and_not_by_path(desk: OperatorDesk) -> None:
    """An id in a label, or a method of somebody's choosing, would be a series for each."""
    desk.ask("/devices/none")
    desk.ask("/nothing/at/all")
    desk.client.request("BREW", "/api/v1/status")
    names = [name for name in figures(desk) if name.startswith("sealwright_license_request_seconds_count")]
    routes = {(found["method"], found["route"]) for found in map(_labels, names)}
    assert {("GET", "/devices/{device_id}"), ("GET", "other"), ("other", "/status")} <= routes
    assert not any("none" in route or "BREW" in method for method, route in routes)


def _labels(name: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', name))


def test_no_metric_without_a_token(desk: OperatorDesk) -> None:
    assert problem_code(desk.client.get("/metrics"), 401) == "UNAUTHENTICATED"


def test_ready_means_that_the_schema_is_this_versions(desk: OperatorDesk) -> None:
    assert desk.client.get("/livez").json() == {"status": "ok"}
    assert desk.client.get("/readyz").json() == {"status": "ok"}
    schema.downgrade(desk.world.store.engine, "0001", desk.world.migrator)
    assert problem_code(desk.client.get("/readyz"), 503) == "UNAVAILABLE"
    assert desk.client.get("/livez").status_code == 200


def logged(message: str, **more: Any) -> dict[str, Any]:
    """The line that a record becomes."""
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 1, message, (), more.pop("exc_info", None), extra=more
    )
    line: dict[str, Any] = json.loads(formatter().format(record))
    return line


def test_a_line_holds_listed_fields_only() -> None:
    request_id = begin_request()
    line = logged("failed", code="X", body="secret-body", token="secret-token")
    assert line["request_id"] == request_id
    assert (line["event"], line["level"], line["code"]) == ("failed", "error", "X")
    assert "secret" not in json.dumps(line)


def test_of_an_exception_only_type_and_place_are_logged() -> None:
    try:
        raise KeyError("secret-input")
    except KeyError as error:
        line = logged("failed", exc_info=(type(error), error, error.__traceback__))
    assert line["exception"] == "KeyError"
    assert line["at_line"].startswith(__file__)
    assert "secret" not in json.dumps(line)
