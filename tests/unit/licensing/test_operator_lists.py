"""What the API shows: lists in pages, filters, single resources, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sealwright_licensing.device_views import device_view
from sealwright_licensing.journal import record_decision
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.api.pages import format_cursor, parse_cursor
from sealwright_licensing.paging import Position
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OPERATOR, OperatorDesk, problem_code


@pytest.fixture
def desk(world: LicenseWorld) -> OperatorDesk:
    return OperatorDesk.open(world)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, module_database: str) -> Iterator[OperatorDesk]:
    """A service of which nothing is asked that would change it."""
    world = LicenseWorld.create(tmp_path_factory.mktemp("empty") / "service", database=module_database)
    yield OperatorDesk.open(world)
    world.store.close()


def walk(desk: OperatorDesk, path: str, limit: int) -> list[Any]:
    """All pages of a list."""
    items: list[Any] = []
    cursor = None
    while True:
        page = desk.get(f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def test_pages_show_each_record_once_newest_first(desk: OperatorDesk) -> None:
    """Also where many are of one second, and where some are added while somebody turns the pages."""
    for number in range(7):
        desk.world.now += number % 2
        desk.world.issue(note=str(number))
    everything = desk.get("/licenses")["items"]
    assert len(everything) == 7
    assert [one["issued_at"] for one in everything] == sorted((one["issued_at"] for one in everything), reverse=True)
    for limit in (1, 2, 3, 7, 8):
        assert walk(desk, "/licenses", limit) == everything
    first = desk.get("/licenses?limit=3")
    desk.world.now += 1
    desk.world.issue(note="meanwhile")
    rest = desk.get(f"/licenses?limit=200&cursor={first['next_cursor']}")["items"]
    assert first["items"] + rest == everything


def test_filters(desk: OperatorDesk) -> None:
    a, _ = desk.world.issue(note="a")
    b, _ = desk.world.issue(product="other")
    suspend_license(desk.world.store, OPERATOR, b.license_id, now=desk.world.now)

    def ids(query: str) -> list[str]:
        return [one["license_id"] for one in desk.get(f"/licenses?{query}")["items"]]

    assert ids("product=other") == [b.license_id]
    assert ids("status=active") == [a.license_id]
    assert ids(f"prefix={b.license_id[:9]}") == [b.license_id]
    assert ids(f"prefix={b.license_id[:9].upper()}") == []
    assert ids("product=other&status=active") == []


def test_a_device_is_shown_with_its_appraisal(desk: OperatorDesk) -> None:
    box = EnrolledDevice.enroll(desk.world)
    (listed,) = desk.get("/devices")["items"]
    shown = desk.get(f"/devices/{box.device.device_id}")
    assert {name: shown[name] for name in listed} == listed
    assert shown["lease"]["number"] == 1
    assert shown["last_decision"]["code"] == "ok"
    assert any("Secure Boot is on" in line for line in shown["last_decision"]["words"])
    (decision,) = desk.get(f"/decisions?device_id={box.device.device_id}&code=ok")["items"]
    assert desk.get(f"/decisions/{decision['decision_id']}") == shown["last_decision"]
    assert desk.get(f"/leases/{shown['lease']['lease_id']}") == shown["lease"]
    now = desk.world.now
    assert len(desk.get(f"/decisions?since={now}&until={now}")["items"]) == 1
    assert desk.get(f"/decisions?since={now + 1}")["items"] == []
    assert desk.get(f"/leases?until={now - 1}")["items"] == []


def test_the_whole_service(desk: OperatorDesk) -> None:
    EnrolledDevice.enroll(desk.world)
    status = desk.get("/status")
    assert status["devices"] == {"live": 1, "held": 0, "retired": 0}
    assert status["licenses"] == {"active": 1, "suspended": 0, "revoked": 0}
    assert (status["releases"], status["pending_enrollments"], status["now"]) == (1, 0, desk.world.now)
    (release,) = desk.get("/releases?withdrawn=false")["items"]
    assert desk.get(f"/releases/{release['release_id']}") == release
    assert desk.get("/releases?withdrawn=true")["items"] == []
    assert len(desk.get("/roots?tier=software")["items"]) == 1
    assert {one["role"] for one in desk.get("/tokens")["items"]} == {"operator", "auditor", "read-only"}


def test_nothing_secret_is_shown(desk: OperatorDesk) -> None:
    """No token, no hash of one, no activation code, no nonce, no share."""
    _, codes = desk.world.issue(seats=2)
    box = EnrolledDevice.enroll(desk.world)
    paths = ("/status", "/licenses", "/devices", f"/devices/{box.device.device_id}", "/leases", "/releases",
             "/decisions", "/roots", "/tokens")  # fmt: skip
    shown = json.dumps([desk.get(path) for path in paths])
    for secret in (*codes, *desk.tokens.values(), box.lease.next_nonce.hex()):
        assert secret not in shown
    assert "hash" not in shown


def test_an_entity_tag_changes_with_decisions_only(desk: OperatorDesk) -> None:
    box = EnrolledDevice.enroll(desk.world)

    def tags() -> list[str]:
        paths = (f"/licenses/{box.license_.license_id}", f"/devices/{box.device.device_id}")
        return [desk.ask(path).headers["etag"] for path in paths]

    before = tags()
    box.pass_time(3600)
    box.renew()
    assert tags() == before
    suspend_license(desk.world.store, OPERATOR, box.license_.license_id, now=desk.world.now)
    assert tags()[0] != before[0]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/licenses/none", 404, "LICENSE_UNKNOWN"),
        ("/devices/none", 404, "DEVICE_UNKNOWN"),
        ("/releases/none", 404, "RELEASE_UNKNOWN"),
        ("/leases/none", 404, "NOT_FOUND"),
        ("/decisions/none", 404, "NOT_FOUND"),
        ("/nothing", 404, "NOT_FOUND"),
        ("/licenses/%00", 400, "MALFORMED"),
        ("/licenses?limit=0", 400, "MALFORMED"),
        ("/licenses?limit=201", 400, "MALFORMED"),
        ("/licenses?cursor=x", 400, "MALFORMED"),
        ("/licenses?status=gone", 400, "MALFORMED"),
        ("/licenses?product=%27--", 400, "MALFORMED"),
        ("/licenses?unknown=1", 400, "MALFORMED"),
        ("/leases?since=-1", 400, "MALFORMED"),
    ],
)
def test_what_is_refused(empty: OperatorDesk, path: str, status: int, code: str) -> None:
    assert problem_code(empty.ask(path), status) == code


def test_a_method_that_is_not_there_is_a_problem(empty: OperatorDesk) -> None:
    assert problem_code(empty.ask("/licenses", method="DELETE"), 405) == "METHOD_NOT_ALLOWED"


def test_a_cursor_comes_back_as_it_was() -> None:
    position = Position(1_800_000_000, "lic-0123456789ab")
    assert parse_cursor(format_cursor(position)) == position
    for text in ("", ".", "1.", ".a", "1.a b", "1.é", "9" * 19 + ".a", "-1.a", "1.a\n", "１.a"):
        with pytest.raises(FormatError):
            parse_cursor(text)


def test_requests_of_a_token_are_limited(world: LicenseWorld) -> None:
    config = world.folder.config_file
    text = config.read_text()
    head, tail = text.split("[operators]")
    config.write_text(head + "[operators]" + tail.replace("requests_per_minute = 600", "requests_per_minute = 12"))
    desk = OperatorDesk.open(world)
    codes = [desk.ask("/status").status_code for _ in range(20)]
    assert codes[0] == 200
    assert codes[-1] == 429


def test_what_is_decided_in_one_second_stays_in_order(desk: OperatorDesk) -> None:
    """In lists, on the device's page and as the last code: the service's time is in seconds, boxes are faster."""
    world = desk.world
    box = EnrolledDevice.enroll(world)
    device_id = box.device.device_id
    codes = [RejectionCode.ROLLED_BACK, RejectionCode.FIRMWARE_CHANGED, RejectionCode.NONCE_INVALID] * 3
    with world.store.write() as transaction:
        for code in codes:
            record_decision(
                transaction, device_id=device_id, license_id=box.license_.license_id, purpose=Purpose.RENEW,
                denial=VerificationError(code, "x"), result=None, now=world.now,
            )  # fmt: skip
    newest_first = [*(one.value for one in reversed(codes)), "ok"]
    assert [one["code"] for one in walk(desk, "/decisions", 4)] == newest_first
    assert desk.get("/devices")["items"][0]["last_code"] == newest_first[0]
    with world.store.read() as transaction:
        assert [one.code for one in device_view(transaction, device_id).decisions] == newest_first
