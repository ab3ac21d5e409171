"""Flows on the agent's socket. Orders of an administrator come with their key: the gateway is not believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.flows.box_flows import BoxFlows, ImportOrder, RemoveOrder
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.receiver import Expectation
from sealwright_appliance.flows.sender import FlowOrder, frames_of
from sealwright_policies.errors import FormatError
from sealwright_policies.flows.content import FRAME_SIZE, TAG_SIZE
from sealwright_policies.flows.documents import (
    FLOW_MESSAGE_LIMIT,
    FlowHello,
    FlowOffer,
    FlowStatement,
    FlowWelcome,
)
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json

T = TypeVar("T")
D = TypeVar("D", bound=BaseModel)
AdminKey = Annotated[str, Field(max_length=64)]
PeerAddress = Annotated[str, Query(max_length=64)]
ORDER_LIMIT = 4096
HELLOS_MOST = 2
"""Strangers that are answered or wait for it; each of them waits for a TPM."""


class SendOrder(Document):
    """``POST /flows/begin``."""

    admin_key: AdminKey
    order: FlowOrder


class ExpectOrder(Document):
    """``POST /flows/expect``."""

    admin_key: AdminKey
    expectation: Expectation


class WithdrawOrder(Document):
    """``POST /flows/withdraw``: one of the two, in the words in which it was ordered."""

    admin_key: AdminKey
    order: FlowOrder | None = None
    expectation: Expectation | None = None


class ImportRequest(Document):
    """``POST /domains/imports``."""

    admin_key: AdminKey
    order: ImportOrder


class RemoveRequest(Document):
    """``POST /domains/remove``."""

    admin_key: AdminKey
    order: RemoveOrder


class ReceiverAnswer(Document):
    """``POST /flows/ID/offer``: what the receiver said, and the certificate that it showed."""

    welcome: FlowWelcome
    fingerprint: Sha256Hex


def add_flows(app: FastAPI, api_keys: ApiKeys, flows: BoxFlows) -> None:
    """Add the routes."""
    turns = Turns(flows)
    _add_domains(app, api_keys, turns)
    _add_sending(app, api_keys, turns)
    _add_receiving(app, api_keys, turns)


@dataclass
class Turns:
    """Flow calls, one at a time: those that wait take no thread from the rest of the agent."""

    flows: BoxFlows
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _hellos: int = 0

    async def alone(self, work: Callable[[], T]) -> T:
        """In a thread, when all before it are done."""

        def locked() -> T:
            with self.flows.lock:
                return work()

        async with self._turn:
            return await run_in_threadpool(locked)

    async def hello(self, work: Callable[[], T]) -> T:
        """The same for somebody who is not known yet.

        Raises:
            FlowError: others of them wait already.
        """
        if self._hellos >= HELLOS_MOST:
            raise FlowError(503, "FLOW_BUSY", "Other boxes are being answered; try again later.")
        self._hellos += 1
        try:
            return await self.alone(work)
        finally:
            self._hellos -= 1


async def _document(request: Request, kind: type[D], limit: int) -> D:
    return parse_json(kind, await _body(request, limit), limit=limit)


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise FormatError(f"The body is longer than {limit} bytes.")
        parts.append(part)
    return b"".join(parts)


def _add_domains(app: FastAPI, api_keys: ApiKeys, turns: Turns) -> None:
    flows = turns.flows

    @app.get("/domains")
    async def domains() -> Response:
        return _json(await turns.alone(flows.domains))

    @app.post("/domains/imports")
    async def begin(request: Request) -> dict[str, object]:
        asked = await _document(request, ImportRequest, ORDER_LIMIT)
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        import_id, next_frame = await turns.alone(lambda: flows.begin_import(asked.order))
        return {"import_id": import_id, "next": next_frame}

    @app.put("/domains/imports/{import_id}/{number}")
    async def take(import_id: str, number: int, request: Request) -> dict[str, int]:
        plain = await _body(request, FRAME_SIZE)
        return {"next": await turns.alone(lambda: flows.take_import(import_id, number, plain))}

    @app.post("/domains/imports/{import_id}/finish")
    async def finish(import_id: str) -> Response:
        checked = await turns.alone(lambda: flows.check_import(import_id))
        if checked.checked < checked.size:
            return _json(checked, status=202)
        return _json(await turns.alone(lambda: flows.finish_import(import_id)))

    @app.post("/domains/remove")
    async def remove(request: Request) -> dict[str, int]:
        asked = await _document(request, RemoveRequest, ORDER_LIMIT)
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        return {"removed": len(await turns.alone(lambda: flows.remove(asked.order)))}

    @app.get("/flows")
    async def view() -> Response:
        return _json(await turns.alone(flows.flows))

    @app.post("/flows/withdraw")
    async def withdraw(request: Request) -> dict[str, list[str]]:
        asked = await _document(request, WithdrawOrder, ORDER_LIMIT)
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        return {"flow_ids": await turns.alone(lambda: flows.withdraw(asked.order, asked.expectation))}


def _add_sending(app: FastAPI, api_keys: ApiKeys, turns: Turns) -> None:
    sender = turns.flows.sender

    @app.post("/flows/begin")
    async def begin(request: Request) -> dict[str, object]:
        asked = await _document(request, SendOrder, ORDER_LIMIT)
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        session = await turns.alone(lambda: sender.begin(asked.order))
        hello = session.hello.model_dump(mode="json")
        return {"flow_id": session.outgoing.flow_id, "frames": frames_of(session.file), "hello": hello}

    @app.post("/flows/{flow_id}/offer")
    async def offer(flow_id: str, request: Request) -> Response:
        answer = await _document(request, ReceiverAnswer, FLOW_MESSAGE_LIMIT)
        shown = bytes.fromhex(answer.fingerprint)
        return _json(await turns.alone(lambda: sender.offer(flow_id, answer.welcome, shown)))

    @app.get("/flows/{flow_id}/frames/{number}")
    async def frame(flow_id: str, number: int) -> Response:
        content = await turns.alone(lambda: sender.frame(flow_id, number))
        return Response(content, media_type="application/octet-stream")

    @app.post("/flows/{flow_id}/receipt")
    async def receipt(flow_id: str, request: Request) -> dict[str, object]:
        said = await _document(request, FlowStatement, 64 * 1024)
        record = await turns.alone(lambda: sender.finish(flow_id, said))
        return {"sequence": record.record.sequence, "digest": record.digest}


def _add_receiving(app: FastAPI, api_keys: ApiKeys, turns: Turns) -> None:
    receiver = turns.flows.receiver

    @app.post("/flows/expect")
    async def expect(request: Request) -> Response:
        asked = await _document(request, ExpectOrder, ORDER_LIMIT)
        await run_in_threadpool(api_keys.require_admin, asked.admin_key)
        return _json(await turns.alone(lambda: receiver.expect(asked.expectation)))

    @app.post("/flows/hello")
    async def hello(request: Request, peer: PeerAddress) -> Response:
        receiver.admit(peer)
        said = await _document(request, FlowHello, ORDER_LIMIT)
        return _json(await turns.hello(lambda: receiver.welcome(said)))

    @app.post("/flows/offers")
    async def offers(request: Request) -> Response:
        said = await _document(request, FlowOffer, FLOW_MESSAGE_LIMIT)
        return _json(await turns.alone(lambda: receiver.accept(said)))

    @app.put("/flows/{flow_id}/frames/{number}")
    async def take(flow_id: str, number: int, request: Request) -> dict[str, int]:
        frame = await _body(request, FRAME_SIZE + TAG_SIZE)
        return {"next": await turns.alone(lambda: receiver.take(flow_id, number, frame))}

    @app.post("/flows/{flow_id}/finish")
    async def finish(flow_id: str) -> Response:
        checked = await turns.alone(lambda: receiver.check(flow_id))
        if checked.checked < checked.size:
            return _json(checked, status=202)
        return _json(await turns.alone(lambda: receiver.finish(flow_id)))


def _json(document: BaseModel, *, status: int = 200) -> Response:
    return Response(document_bytes(document), status_code=status, media_type="application/json")
