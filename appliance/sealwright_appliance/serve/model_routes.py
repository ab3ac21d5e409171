"""The addresses under ``/v1/``: what colleagues ask models."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from sealwright_appliance.adapters.messages import AdapterState
from sealwright_appliance.serve.adapters import SEPARATOR
from sealwright_appliance.serve.chat import ChatRequest, parse_chat_request
from sealwright_appliance.serve.document_vectors import Retrieval
from sealwright_appliance.serve.embedding import parse_embedding_request
from sealwright_appliance.serve.errors import ApiError, unknown_model
from sealwright_appliance.serve.file_search import searched
from sealwright_appliance.serve.gate import Entered, Gate
from sealwright_appliance.serve.keys import ApiKey
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.openapi import api_document
from sealwright_appliance.serve.request_parts import BODY_LIMIT
from sealwright_appliance.serve.requests import read_body
from sealwright_appliance.serve.response_events import ResponseReply
from sealwright_appliance.serve.responses import parse_response_request
from sealwright_appliance.serve.text_completion import parse_text_request
from sealwright_appliance.serve.token_count import parse_count_request
from sealwright_appliance.serve.tools import require_template


def add_model_routes(app: FastAPI, gate: Gate, retrieval: Retrieval) -> None:
    """Add them."""
    _add_models(app, gate)
    _add_chat(app, gate)
    _add_text(app, gate)
    _add_embeddings(app, gate)
    _add_count(app, gate)
    _add_responses(app, gate, retrieval)


def _add_models(app: FastAPI, gate: Gate) -> None:
    @app.get("/v1/openapi.json")
    async def document() -> dict[str, Any]:
        return api_document()

    started = int(time.time())

    def described(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "sealwright"}

    async def names(request: Request) -> list[str]:
        """Models, and those adapters of them that this key may use; without those that cannot be reached now."""
        key, adapters = await gate.key(request), []
        with suppress(ApiError):
            adapters = [one for one in await gate.adapters.seen_by(key) if one.state is AdapterState.READY]
        return sorted([*gate.models(key), *(f"{one.model}{SEPARATOR}{one.name}" for one in adapters)])

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        return {"object": "list", "data": [described(name) for name in await names(request)]}

    @app.get("/v1/models/{name}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        known = await names(request)
        if name not in known:
            raise unknown_model(known)
        return described(name)


def _add_chat(app: FastAPI, gate: Gate) -> None:
    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        key = await gate.key(request)
        asked = parse_chat_request(await read_body(request, BODY_LIMIT))
        entered = await _entered(gate, request, key, asked)
        of_engine = asked.for_engine(asked.answer_tokens(entered.policy))
        if asked.stream:
            return await entered.stream(of_engine, [asked.turns()])
        return entered.document(await entered.whole(of_engine, [asked.turns()]))


def _add_text(app: FastAPI, gate: Gate) -> None:
    @app.post("/v1/completions")
    async def text(request: Request) -> Response:
        key = await gate.key(request)
        asked = parse_text_request(await read_body(request, BODY_LIMIT))
        prompts = len(asked.prompts)
        entered = await gate.enter(request, key, asked.model, asked.require_permitted, prompts=prompts)
        of_engine = asked.for_engine(asked.answer_tokens(entered.policy))
        if asked.stream:
            return await entered.stream(of_engine, asked.conversations())
        return entered.document(await entered.whole(of_engine, asked.conversations()))


def _add_embeddings(app: FastAPI, gate: Gate) -> None:
    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        key = await gate.key(request)
        asked = parse_embedding_request(await read_body(request, BODY_LIMIT))
        texts = len(asked.texts)
        entered = await gate.enter(request, key, asked.model, asked.require_permitted, prompts=texts)
        of_engine = asked.for_engine(await entered.abilities())
        embedded = await entered.done(entered.engine.embed, of_engine, asked.conversations())
        # A hundred thousand numbers take long enough for others to notice.
        return entered.document(await asyncio.to_thread(asked.document, embedded))


def _add_count(app: FastAPI, gate: Gate) -> None:
    @app.post("/v1/tokenize")
    async def count(request: Request) -> dict[str, Any]:
        key = await gate.key(request)
        asked = parse_count_request(await read_body(request, BODY_LIMIT))
        entered = await gate.enter(request, key, asked.model, asked.require_permitted)
        abilities = await entered.abilities()
        if asked.needs_tools:
            require_template(asked.tools or (), asked.messages or (), able=abilities.tools)
        tokens = await entered.done(entered.engine.count, asked.for_engine(), [asked.turns()])
        return {"object": "token_count", "model": asked.model, "count": tokens, "max_model_len": abilities.context}


def _add_responses(app: FastAPI, gate: Gate, retrieval: Retrieval) -> None:
    @app.post("/v1/responses")
    async def response(request: Request) -> Response:
        key = await gate.key(request)
        asked, chat = parse_response_request(await read_body(request, BODY_LIMIT))
        entered = await _entered(gate, request, key, chat)
        # By what the user has said, and not by passages, a model's copying is noticed.
        turns, search = [chat.turns()], None
        if most := asked.passages_most:
            search, chat = await searched(retrieval, entered, chat, most, with_results=asked.with_results)
        of_engine, reply = chat.for_engine(chat.answer_tokens(entered.policy)), ResponseReply(asked, search)
        if asked.stream:
            return await entered.stream(of_engine, turns, reply.stream)

        async def whole(of_engine: dict[str, Any], tally: Tally) -> bytes:
            return await reply.collect(entered.engine.stream(of_engine, tally))

        return entered.document(await entered.done(whole, of_engine, turns))

    @app.post("/v1/responses/input_tokens")
    async def count(request: Request) -> dict[str, Any]:
        key = await gate.key(request)
        _, chat = parse_response_request(await read_body(request, BODY_LIMIT))
        entered = await _entered(gate, request, key, chat)
        tokens = await entered.done(entered.engine.count, chat.for_count(), [chat.turns()])
        return {"object": "response.input_tokens", "input_tokens": tokens}


async def _entered(gate: Gate, request: Request, key: ApiKey, chat: ChatRequest) -> Entered:
    """Let a chat in, which its model's template can show."""
    entered = await gate.enter(request, key, chat.model, chat.require_permitted)
    if chat.needs_tools:
        require_template(chat.tools or (), chat.messages, able=(await entered.abilities()).tools)
    return entered
