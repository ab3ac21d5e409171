"""Engines by order of the gateway, which knows what is asked: started, stopped, and which of them run.

The order goes on to :mod:`.volume_service`, for payloads that this boot has opened and nothing has closed since. All
that a subverted gateway gets by it is engines that are not there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.engines import DIED, LOADING_DEATHS, SERVED, Engines
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.volume_service import Volumes
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.wire.encoding import Document, Identifier

ENGINE_DIED = "ENGINE_DIED"
"""An engine has died as it loaded, and may be ordered again."""
IN_USE = (PayloadState.OPEN, PayloadState.LOADING, PayloadState.SERVING)


class EngineError(SealwrightError):
    """An engine that is not started or stopped."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class EngineOrder(Document):
    """``POST /engines/start`` and ``/engines/stop``."""

    payload_id: Identifier


class RunningEngines(Document):
    """``GET /engines``: those that run, are about to, or are started again after they have died."""

    running: list[str]


@dataclass(frozen=True, slots=True)
class EngineOrders:
    """Carries them out."""

    board: StatusBoard
    engines: Engines
    volumes: Volumes
    _deaths: Counter[str] = field(default_factory=Counter)
    """Of each engine in a row, as it loaded."""

    def running(self) -> RunningEngines:
        """Which engines run."""
        names = [one.payload_id for one in self._served()]
        return RunningEngines(running=[name for name in names if self.volumes.engine_of(name).runs])

    def start(self, payload_id: str) -> None:
        """Start an engine and wait until it answers.

        Raises:
            EngineError: it may not; it has died; or it never does, and its payload is closed then.
        """
        self._require(payload_id)
        try:
            before = self.volumes.engine_of(payload_id)
            self.volumes.start_engine(payload_id)
        except OperationError as error:
            raise EngineError(503, BoxCode.ENGINE_FAILED, str(error)) from None
        failure = self.engines.wait_until_ready(payload_id, before.deaths + 1 if before.runs else 1)
        self._deaths[payload_id] = self._deaths[payload_id] + 1 if failure == DIED else 0
        if 0 < self._deaths[payload_id] < LOADING_DEATHS:
            raise EngineError(503, ENGINE_DIED, DIED.sentence)
        if failure is not None:
            reason = self.engines.given_up(payload_id, failure, self.volumes.close)
            self.board.set_payload(payload_id, PayloadState.FAILED, reason)
            raise EngineError(503, reason.code, reason.sentence)

    def stop(self, payload_id: str) -> None:
        """Stop an engine.

        Raises:
            EngineError: it may not be stopped, or does not stop.
        """
        self._require(payload_id)
        try:
            self.volumes.stop_engine(payload_id)
        except OperationError as error:
            raise EngineError(503, BoxCode.ENGINE_FAILED, str(error)) from None

    def _require(self, payload_id: str) -> None:
        """Refuse what this box does not serve now."""
        status = self.board.status
        payload = next((one for one in self._served() if one.payload_id == payload_id), None)
        if payload is None:
            raise EngineError(404, "UNKNOWN_MODEL", f"There is no model {payload_id}.")
        if status.state not in (BoxState.UNLOCKED, BoxState.SERVING):
            raise EngineError(503, status.code or status.state.value, status.sentence)
        if payload.state not in IN_USE:
            raise EngineError(503, payload.code or BoxCode.ENGINE_FAILED, payload.sentence or "It is closed.")

    def _served(self) -> list[PayloadStatus]:
        return [one for one in self.board.status.payloads if one.kind in SERVED]


def add_engines(app: FastAPI, orders: EngineOrders) -> None:
    """Add the routes."""

    @app.get("/engines")
    async def running() -> RunningEngines:
        return await run_in_threadpool(orders.running)

    @app.post("/engines/start")
    async def start(order: EngineOrder) -> EngineOrder:
        await run_in_threadpool(orders.start, order.payload_id)
        return order

    @app.post("/engines/stop")
    async def stop(order: EngineOrder) -> EngineOrder:
        await run_in_threadpool(orders.stop, order.payload_id)
        return order
