"""The receiver's port for frames: open only while a flow is under way, and only to the box that was believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.connections import GuardedServer, Limits, listen
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.gateway_tls import GatewayTls
from sealwright_appliance.serve.peer_link import server_context
from sealwright_appliance.serve.requests import passed_on, read_body
from sealwright_policies.flows.content import FRAME_SIZE, TAG_SIZE

IDLE_S = 120.0
LOOK_S = 1.0
LIMITS = Limits(handshake_s=5.0, connections=64, connections_of_peer=2)
"""The sender needs one, and one more where it comes back before the first is gone. Others reach the port, too."""


class _Server(GuardedServer):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The gateway's own server has them."""
        yield


@dataclass
class FlowListener:
    """At most one flow at a time."""

    box: Box
    tls: GatewayTls
    _flow_id: str = ""
    _used_at: float = 0.0
    _server: _Server | None = None
    _task: asyncio.Task[None] | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    steady: Callable[[], float] = time.monotonic

    async def open(self, flow_id: str, certificate: bytes) -> int:
        """Listen for the box with this certificate, DER; returns the port.

        Raises:
            ApiError: another flow is under way.
        """
        async with self._lock:
            if self._server is not None and self._flow_id != flow_id:
                raise ApiError(409, "FLOW_BUSY", "Another flow is under way; try again later.", retry_after_s=30)
            await self._close()
            try:
                listener = listen(self.tls.host, self.tls.peer_port)
            except OSError:
                raise ApiError(503, "FLOW_BUSY", "The port for flows is in use.", retry_after_s=30) from None
            port: int = listener.getsockname()[1]
            settings = uvicorn.Config(
                self._app(flow_id), http="h11", ws="none", lifespan="off", proxy_headers=False, access_log=False,
                log_config=None, server_header=False, timeout_keep_alive=int(IDLE_S),
            )  # fmt: skip
            settings.load()
            settings.ssl = server_context(certificate, self.tls.certificate, self.tls.private_key)
            self._server = _Server(settings, listener, LIMITS)
            self._flow_id, self._used_at = flow_id, self.steady()
            self._task = asyncio.create_task(self._run(self._server))
            return port

    async def close(self, flow_ids: Collection[str] | None = None) -> None:
        """Listen no more; or no more for these flows."""
        async with self._lock:
            if flow_ids is None or self._flow_id in flow_ids:
                await self._close()

    async def _close(self) -> None:
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.should_exit = server.force_exit = True
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, server: _Server) -> None:
        serving = asyncio.create_task(server.serve())
        while not serving.done():
            await asyncio.wait([serving], timeout=LOOK_S)
            if self.steady() - self._used_at > IDLE_S:
                server.should_exit = True
        if self._server is server:
            self._server = self._task = None

    def _app(self, flow_id: str) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

        @app.exception_handler(ApiError)
        async def refuse(_: Request, error: ApiError) -> JSONResponse:
            return error.response()

        @app.put("/frames/{number}")
        async def frame(number: int, request: Request) -> Response:
            self._used_at = self.steady()
            content = await read_body(request, FRAME_SIZE + TAG_SIZE)
            reply = passed_on(await self.box.flow("PUT", f"/flows/{flow_id}/frames/{number}", content=content))
            self._used_at = self.steady()
            return reply

        @app.post("/finish")
        async def finish() -> Response:
            self._used_at = self.steady()
            reply = passed_on(await self.box.flow("POST", f"/flows/{flow_id}/finish"))
            self._used_at = self.steady()
            if reply.status_code == 200 and self._server is not None:
                self._server.should_exit = True
            return reply

        return app
