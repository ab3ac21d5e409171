"""Flows at the gateway: what administrators order, and what other boxes say before they are believed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.flow_listener import FlowListener
from sealwright_appliance.serve.flow_sending import FlowSending
from sealwright_appliance.serve.peer_link import parse_peer_address, sha256
from sealwright_appliance.serve.requests import FORM_LIMIT, json_object, passed_on, peer, read_body
from sealwright_policies.flows.content import FRAME_SIZE
from sealwright_policies.flows.documents import FLOW_MESSAGE_LIMIT

OFFER_S = 600.0
OFFERS_AT_ONCE = 16

AdminKey = Callable[[Request], Awaitable[str]]
"""The administrator's key of a request; refuses everybody else."""


@dataclass
class Welcomes:
    """Hellos that were answered: an offer is megabytes, and is read from nobody else, and from a few at a time.

    None pushes out another; the agent's limit of hellos bounds how many there are.
    """

    steady: Callable[[], float] = time.monotonic
    _at: dict[str, float] = field(default_factory=dict)
    _reading: int = 0

    def note(self, nonce: object) -> None:
        """One was answered."""
        now = self.steady()
        kept = {name: at for name, at in self._at.items() if now - at < OFFER_S}
        self._at = kept | {sha256(str(nonce).encode()): now}

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """While its offer is read.

        Raises:
            ApiError: there was none, its offer has come, or many are being read.
        """
        if self._reading >= OFFERS_AT_ONCE:
            raise ApiError(503, "FLOW_BUSY", "Other offers are being read; try again later.", retry_after_s=30)
        at = self._at.pop(name, None)
        if at is None or self.steady() - at >= OFFER_S:
            raise ApiError(404, "not_found", "This offer answers no welcome of the last ten minutes.")
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1


@dataclass(frozen=True, slots=True)
class Flows:
    """Both sides of the gateway's part."""

    listener: FlowListener
    sending: FlowSending

    async def close(self) -> None:
        """Listen and send no more."""
        await self.sending.close()
        await self.listener.close()


def add_flow_routes(app: FastAPI, box: Box, flows: Flows, admin_key: AdminKey) -> None:
    """Add them to the gateway."""
    _add_domains(app, box, admin_key)
    _add_orders(app, box, flows, admin_key)
    _add_peers(app, box, flows.listener)


def _add_domains(app: FastAPI, box: Box, admin_key: AdminKey) -> None:
    @app.get("/admin/domains")
    async def domains(request: Request) -> Response:
        await admin_key(request)
        return passed_on(await box.flow("GET", "/domains"))

    @app.post("/admin/domains/imports")
    async def begin(request: Request) -> Response:
        key = await admin_key(request)
        order = json_object(await read_body(request, FORM_LIMIT))
        return passed_on(await box.flow("POST", "/domains/imports", json={"admin_key": key, "order": order}))

    @app.post("/admin/domains/remove")
    async def remove(request: Request) -> Response:
        key = await admin_key(request)
        order = json_object(await read_body(request, FORM_LIMIT))
        return passed_on(await box.flow("POST", "/domains/remove", json={"admin_key": key, "order": order}))

    @app.put("/admin/domains/imports/{import_id}/{number}")
    async def part(import_id: str, number: int, request: Request) -> Response:
        await admin_key(request)
        content = await read_body(request, FRAME_SIZE)
        path = f"/domains/imports/{_hexadecimal(import_id)}/{number}"
        return passed_on(await box.flow("PUT", path, content=content))

    @app.post("/admin/domains/imports/{import_id}/finish")
    async def finish(import_id: str, request: Request) -> Response:
        await admin_key(request)
        return passed_on(await box.flow("POST", f"/domains/imports/{_hexadecimal(import_id)}/finish"))


def _add_orders(app: FastAPI, box: Box, both: Flows, admin_key: AdminKey) -> None:
    sending = both.sending

    @app.get("/admin/flows")
    async def flows(request: Request) -> Response:
        await admin_key(request)
        reply = await box.flow("GET", "/flows")
        if not reply.is_success:
            return passed_on(reply)
        progress = sending.progress.described() if sending.progress is not None else None
        return JSONResponse(reply.json() | {"progress": progress})

    @app.post("/admin/flows/expect")
    async def expect(request: Request) -> Response:
        key = await admin_key(request)
        asked = json_object(await read_body(request, FORM_LIMIT))
        return passed_on(await box.flow("POST", "/flows/expect", json={"admin_key": key, "expectation": asked}))

    @app.post("/admin/flows/send")
    async def send(request: Request) -> dict[str, Any]:
        key = await admin_key(request)
        order = json_object(await read_body(request, FORM_LIMIT))
        address = parse_peer_address(str(order.pop("peer", "")))
        return await sending.start(order, address, key)

    @app.post("/admin/flows/withdraw")
    async def withdraw(request: Request) -> Response:
        key = await admin_key(request)
        asked = json_object(await read_body(request, FORM_LIMIT))
        reply = await box.flow("POST", "/flows/withdraw", json=asked | {"admin_key": key})
        if reply.is_success:
            ended = reply.json()["flow_ids"]
            await both.sending.close(ended)
            await both.listener.close(ended)
        return passed_on(reply)


def _add_peers(app: FastAPI, box: Box, listener: FlowListener) -> None:
    """No key is wanted: the agent believes what the other box's TPM says, and nothing before that."""
    welcomes = Welcomes()

    @app.post("/flows/hello")
    async def hello(request: Request) -> Response:
        said = json_object(await read_body(request, FORM_LIMIT))
        reply = await box.flow("POST", "/flows/hello", json=said, params={"peer": peer(request)})
        if reply.is_success:
            welcomes.note(said["nonce"])
        return passed_on(reply)

    @app.post("/flows/offers/{name}")
    async def offer(name: str, request: Request) -> Response:
        with welcomes.taken(name):
            said = await read_body(request, FLOW_MESSAGE_LIMIT)
            reply = await box.flow("POST", "/flows/offers", content=said)
        if not reply.is_success:
            return passed_on(reply)
        accepted = reply.json()
        port = await listener.open(accepted["flow_id"], bytes.fromhex(accepted.pop("certificate")))
        return JSONResponse(accepted | {"port": port})


def _hexadecimal(text: str) -> str:
    if not text or len(text) > 64 or set(text) - set("0123456789abcdef"):
        raise ApiError(404, "not_found", "There is no such address.")
    return text
