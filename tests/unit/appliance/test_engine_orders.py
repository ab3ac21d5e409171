"""What the agent does of what the gateway orders, and for which payloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.engine_orders import ENGINE_DIED, EngineError, EngineOrders
from sealwright_appliance.engines import DIED, LOADING_DEATHS, Engines, ObservedEngine
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import BootResult, PayloadState, PayloadStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_policies.errors import OperationError
from sealwright_testing.noted_volumes import NotedVolumes

ORDERS = ("start", "stop")
OUT = ObservedEngine(runs=False, deaths=0)
RUNS = ObservedEngine(runs=True, deaths=0)


@dataclass(frozen=True)
class Volumes(NotedVolumes):
    orders: list[str] = field(default_factory=list)
    refuses: bool = False
    seen: list[ObservedEngine] = field(default_factory=list)
    """What is observed, one after the other; behind that it runs."""

    def engine_of(self, payload_id: str) -> ObservedEngine:
        return self.seen.pop(0) if self.seen else RUNS

    def start_engine(self, payload_id: str) -> None:
        self._order(f"start {payload_id}")

    def stop_engine(self, payload_id: str) -> None:
        self._order(f"stop {payload_id}")

    def _order(self, order: str) -> None:
        self.orders.append(order)
        if self.refuses:
            raise OperationError("It is refused.")


def payload(name: str, kind: str = "model", state: PayloadState = PayloadState.OPEN) -> PayloadStatus:
    return PayloadStatus(payload_id=name, kind=kind, domain="d", file_name="model.gguf", state=state)


def orders(root: Path, volumes: Volumes, *payloads: PayloadStatus, corrupted: bool = False) -> EngineOrders:
    """Of a box that serves, where an engine never answers, after no time at all."""
    boot = BootResult(state=BoxState.UNLOCKED, sentence="", at=0, payloads=list(payloads))
    board = StatusBoard(boot, Console([root / "console"]), lambda: 0.0)
    times = iter(range(0, 10**6, 100))
    engines = Engines(
        Paths(root=root), lambda _: corrupted, volumes.engine_of, lambda: float(next(times)), lambda _: None
    )
    return EngineOrders(board, engines, volumes)


def test_an_engine_that_never_answers_is_given_up_with_its_payload(tmp_path: Path) -> None:
    volumes = Volumes([])
    made = orders(tmp_path, volumes, payload("medical"))
    with pytest.raises(EngineError) as refused:
        made.start("medical")
    assert (refused.value.status, refused.value.code) == (503, BoxCode.ENGINE_FAILED)
    assert volumes.orders == ["start medical"]
    assert volumes.closed == ["medical"]
    with pytest.raises(EngineError) as again:
        made.start("medical")
    assert again.value.code == BoxCode.ENGINE_FAILED
    assert volumes.orders == ["start medical"]


def test_an_engine_that_dies_as_it_loads_may_be_ordered_again_until_it_is_given_up(tmp_path: Path) -> None:
    """Counted in a row, since each order begins with a start of its own."""
    volumes = Volumes([])
    made = orders(tmp_path, volumes, payload("medical"))
    for code in [ENGINE_DIED] * (LOADING_DEATHS - 1) + [BoxCode.ENGINE_FAILED]:
        volumes.seen.extend([OUT, ObservedEngine(runs=True, deaths=1)])
        with pytest.raises(EngineError) as refused:
            made.start("medical")
        assert (refused.value.status, refused.value.code) == (503, code)
    assert volumes.orders == ["start medical"] * LOADING_DEATHS
    assert volumes.closed == ["medical"]
    (told,) = made.board.payloads_in(PayloadState.FAILED)
    assert told.sentence == DIED.sentence


def test_deaths_before_an_order_are_not_its_own(tmp_path: Path) -> None:
    """Of one that already runs, and is only waited for."""
    volumes = Volumes([])
    before = ObservedEngine(runs=True, deaths=3)
    volumes.seen.extend([before, before, ObservedEngine(runs=True, deaths=4)])
    with pytest.raises(EngineError) as refused:
        orders(tmp_path, volumes, payload("medical")).start("medical")
    assert refused.value.code == ENGINE_DIED
    assert volumes.seen == []


@pytest.mark.parametrize("order", ORDERS)
def test_what_this_box_does_not_serve_is_no_engine(tmp_path: Path, order: str) -> None:
    volumes = Volumes([])
    made = orders(tmp_path, volumes, payload("medical"), payload("training", "workload"))
    for name in ("other", "training"):
        with pytest.raises(EngineError) as refused:
            getattr(made, order)(name)
        assert refused.value.status == 404
    assert volumes.orders == []


@pytest.mark.parametrize("order", ORDERS)
def test_behind_the_end_of_a_lease_no_engine_starts_or_stops(tmp_path: Path, order: str) -> None:
    """Its closing is under way."""
    volumes = Volumes([])
    made = orders(tmp_path, volumes, payload("medical"))
    made.board.change(BoxState.ENDED, "It is over.", code="REVOKED")
    with pytest.raises(EngineError) as refused:
        getattr(made, order)("medical")
    assert refused.value.code == "REVOKED"
    assert volumes.orders == []


@pytest.mark.parametrize("state", [PayloadState.CLOSED, PayloadState.FAILED])
def test_a_payload_that_is_closed_or_has_failed_stays_so(tmp_path: Path, state: PayloadState) -> None:
    volumes = Volumes([])
    with pytest.raises(EngineError):
        orders(tmp_path, volumes, payload("medical", state=state)).start("medical")
    assert volumes.orders == []


@pytest.mark.parametrize("order", ORDERS)
def test_what_the_volume_service_refuses_is_told(tmp_path: Path, order: str) -> None:
    volumes = Volumes([], refuses=True)
    with pytest.raises(EngineError, match="It is refused"):
        getattr(orders(tmp_path, volumes, payload("medical")), order)("medical")
    assert volumes.closed == []
