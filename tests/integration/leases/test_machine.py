"""The lease machine in random order: a short run of ``make test-leases``, partly the same each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwright_testing.leases.machine import GreedyOwner, HonestBox, LeaseMachine, drive
from sealwright_testing.leases.scene import Scene

STEPS = 10


@pytest.fixture(autouse=True)
def _template(template: Scene) -> Iterator[None]:
    LeaseMachine.template = staticmethod(lambda: template)
    yield
    del LeaseMachine.template


@pytest.mark.parametrize("machine", [HonestBox, GreedyOwner])
@pytest.mark.parametrize(("same", "examples"), [(True, 3), (False, 2)], ids=["same", "random"])
def test_no_promise_is_broken(machine: type[LeaseMachine], examples: int, *, same: bool) -> None:
    drive(machine, examples=examples, steps=STEPS, same=same)
