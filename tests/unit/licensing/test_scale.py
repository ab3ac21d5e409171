"""Ten thousand boxes: what a page or an operation asks of the database does not hang on how many boxes there are.

By statements, and by the rows that come back: an operation that loads all boxes of a licence in one statement is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sealwright_licensing import cli
from sealwright_licensing.metering_records import MeteringUsage
from sealwright_licensing.operations import devices, licenses
from sealwright_licensing.operations.terms import TermChanges
from sealwright_licensing.operators.fleet_metrics import fleet_metrics
from sealwright_licensing.records import Device, EnrollmentReply, License, RenewalReply
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.operator_desk import OperatorDesk
from sealwright_testing.query_count import QueryCount, counted_engine, counted_queries, grow_fleet

FEW, MANY = 250, 1500
"""Boxes; both are more than a page."""
MONTH = "2026-11"


def cost(world: LicenseWorld, work: Callable[[], object]) -> tuple[int, int]:
    """Statements and rows."""
    with counted_queries() as of_store, counted_engine(world.store.engine) as of_engine:
        work()
    both: list[QueryCount] = [of_store, of_engine]
    return sum(one.number for one in both), sum(one.rows for one in both)


def grow(box: EnrolledDevice, number: int) -> None:
    """So many boxes, licences and lines of usage."""
    world = box.world
    grow_fleet(world, number)
    with world.store.write() as transaction:
        for at in range(transaction.count(License), number):
            transaction.put(replace(box.license_, license_id=f"lic-{at:012}"))
        for at in range(transaction.count(MeteringUsage), number):
            transaction.put(
                MeteringUsage(box.license_.license_id, MONTH, MONTH, f"{at:064}", "5a" * 32, "key", at % 10 == 0,
                              "medical", 1, 2, 3, 4, 5)
            )  # fmt: skip


def reads(world: LicenseWorld) -> dict[str, Callable[[], Any]]:
    """What operators look at."""
    desk = OperatorDesk.open(world)
    desk.get("/status")  # which notes that the token was used
    paths = ("/status", "/licenses", "/licenses?limit=200", "/devices", "/devices?limit=200", "/leases", "/decisions",
             "/operations", f"/metering/usage?month={MONTH}", "/metering/alarms")  # fmt: skip
    found: dict[str, Callable[[], Any]] = {path: lambda path=path: desk.get(path) for path in paths}  # type: ignore[misc]
    found["metrics"] = lambda: fleet_metrics(world.store, world.folder, now=world.now)
    return found


def test_what_is_read_costs_the_same_however_many_boxes_there_are(box: EnrolledDevice) -> None:
    wanted = reads(box.world)
    grow(box, FEW)
    few = {name: cost(box.world, work) for name, work in wanted.items()}
    grow(box, MANY)
    assert {name: cost(box.world, work) for name, work in wanted.items()} == few
    assert few["/devices"][0] == few["/devices?limit=200"][0], "a longer page takes no more statements"
    assert few["metrics"][1] < 40


def operations(box: EnrolledDevice) -> dict[str, Callable[[], Any]]:
    """What operators do."""
    store, now = box.world.store, box.world.now
    license_id, device_id = box.license_.license_id, box.device.device_id
    changes = TermChanges(note="other")
    return {
        "renew": lambda: licenses.renew_license(store, OPERATOR, license_id, days=1, now=now),
        "change": lambda: licenses.change_terms(store, OPERATOR, license_id, changes, now=now),
        "floor": lambda: licenses.set_version_floor(store, OPERATOR, license_id, "1", lower=True, now=now),
        "suspend": lambda: licenses.suspend_license(store, OPERATOR, license_id, now=now),
        "reinstate": lambda: licenses.reinstate_license(store, OPERATOR, license_id, now=now),
        "code": lambda: licenses.add_activation_code(store, OPERATOR, license_id, now=now),
        "transfer": lambda: devices.transfer_device(store, OPERATOR, device_id, now=now),
        "resume": lambda: devices.resume_device(store, OPERATOR, device_id, now=now),
        "retire": lambda: devices.retire_device(store, OPERATOR, device_id, now=now),
        "revoke": lambda: licenses.revoke_license(store, OPERATOR, license_id, now=now),
    }


def test_an_operation_loads_no_more_of_a_large_licence(box: EnrolledDevice) -> None:
    """At most what it changes: ten rows."""
    grow(box, MANY)
    spent = {name: cost(box.world, work) for name, work in operations(box).items()}
    assert max(rows for _, rows in spent.values()) <= 10, spent
    assert max(statements for statements, _ in spent.values()) <= 18, spent


def test_a_change_forgets_the_replies_of_its_licence_alone(box: EnrolledDevice) -> None:
    """In one statement, of all its boxes."""
    license_, (code,) = box.world.issue()
    device = box.world.device(1)
    lease = verify_lease(box.world.enroll(device, code).leases[0], box.world.service)
    other = EnrolledDevice(box.world, license_, device, lease)
    for one in (box, other):
        one.pass_time(100)
        one.renew()
    grow_fleet(box.world, 20)
    with SqlStore(box.world.store.engine).read() as transaction:
        of_license = {one.device_id: one.license_id for one in transaction.find(Device)}
        before = {one.device_id for one in transaction.find(RenewalReply)}
        enrolled = transaction.count(EnrollmentReply)
    assert len(before) == 20
    licenses.change_terms(box.world.store, OPERATOR, box.license_.license_id, TermChanges(note="x"), now=box.world.now)
    with box.world.store.read() as transaction:
        left = {one.device_id for one in transaction.find(RenewalReply)}
        assert left == {one for one in before if of_license[one] == other.license_.license_id}
        assert transaction.count(EnrollmentReply) == enrolled, "no right was taken away"


@pytest.mark.parametrize("command", [("license", "list"), ("device", "list"), ("metering", "show")])
def test_the_command_lists_a_page_at_a_time(
    box: EnrolledDevice, command: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it, in a few statements for each two hundred."""
    grow(box, MANY)
    with counted_queries() as count:
        assert cli.main([*command, str(box.world.folder.path), "--json"]) == 0
    assert count.number <= 3 * (MANY // 200 + 1)
    capsys.readouterr()
