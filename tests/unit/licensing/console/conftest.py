"""The console over a fresh service, and over one of which nothing is asked that would change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwright_licensing.config import load_config
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.sequencer import Sequencer
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OperatorDesk


@pytest.fixture
def visitor(world: LicenseWorld) -> ConsoleVisitor:
    return ConsoleVisitor.open(world)


@pytest.fixture(scope="module")
def quiet_box(tmp_path_factory: pytest.TempPathFactory, module_database: str) -> Iterator[EnrolledDevice]:
    """A device of a service that nothing is done to."""
    world = LicenseWorld.create(tmp_path_factory.mktemp("quiet") / "service", database=module_database)
    box = EnrolledDevice.enroll(world)
    Sequencer(world.store, load_log_keys(world.folder.keys), load_config(world.folder).service_id).run()
    yield box
    world.store.close()


@pytest.fixture(scope="module")
def quiet(quiet_box: EnrolledDevice) -> dict[Role, ConsoleVisitor]:
    """Visitors of every role at that service."""
    desk = OperatorDesk.open(quiet_box.world)
    return {role: ConsoleVisitor.log_in(desk, role) for role in Role}
