"""How many statements a renewal takes does not hang on how many devices there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.query_count import counted_queries, grow_fleet

RENEWALS = 40
"""More than lie between two prunings (journal.py)."""
MOST_ON_POSTGRESQL = 11
"""Statements of a renewal there, each of which is a round trip; those that prune now and then included."""


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LicenseWorld]:
    """A service on either database."""
    database = request.getfixturevalue("postgres_url") if request.param == "postgresql" else DEFAULT_DATABASE
    made = LicenseWorld.create(tmp_path / "service", database=database)
    yield made
    made.store.close()


def statements(box: EnrolledDevice) -> int:
    """Statements of a number of renewals, the nonces included."""
    with counted_queries() as count:
        for _ in range(RENEWALS):
            box.device.increment()
            box.pass_time(100)
            box.ask(box.nonce())
    return count.number


def test_statements_do_not_grow_with_the_fleet(world: LicenseWorld, request: pytest.FixtureRequest) -> None:
    box = EnrolledDevice.enroll(world)
    statements(box)
    seen = {}
    for devices in (10, 1000):
        grow_fleet(world, devices)
        seen[devices] = statements(box)
    assert seen[10] == seen[1000]
    if "postgresql" in request.node.callspec.id:
        assert seen[10] <= MOST_ON_POSTGRESQL * RENEWALS
