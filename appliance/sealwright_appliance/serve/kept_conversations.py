"""``/conversations``: what the chat page keeps where the models' domains let it (policies/spec/conversations.md)."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, StringConstraints, ValidationError

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.conversation_seal import CONTENT, TITLE, ConversationSeal
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.keys import authenticate, shown_key
from sealwright_appliance.serve.requests import json_object, read_body
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import KIB, Document, Identifier, document_bytes, parse_json

CONVERSATION_LIMIT = 256 * KIB
TURNS_MOST = 1024
MODELS_MOST = 16


class Turn(Document):
    """What somebody has asked, or a model has answered."""

    role: Literal["user", "assistant"]
    model: Identifier
    """That was asked, or answered: its domain says whether this may be kept."""
    text: str


class KeptChat(Document):
    """A conversation, as the page sends and gets it."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    instructions: str = ""
    turns: Annotated[list[Turn], Field(min_length=1, max_length=TURNS_MOST)]

    @property
    def models(self) -> list[str]:
        """All that took part."""
        return sorted({turn.model for turn in self.turns})


def parse_kept_chat(body: bytes) -> KeptChat:
    """Read a conversation.

    Raises:
        ApiError: 400.
    """
    try:
        chat = KeptChat.model_validate(json_object(body))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][:1] if part in KeptChat.model_fields)
        raise ApiError(400, "invalid_parameter", f"{where or 'conversation'}: not as described.", param=where) from None
    if len(chat.models) > MODELS_MOST:
        raise ApiError(400, "invalid_parameter", f"turns: of {MODELS_MOST} models at most.", param="turns")
    return chat


class _Owner:
    """Who asks, and what opens theirs."""

    def __init__(self, key: str) -> None:
        self.sha256 = hashlib.sha256(key.encode("ascii")).hexdigest()
        self.seal = ConversationSeal(key)

    def sealed(self, conversation_id: str, chat: KeptChat) -> dict[str, Any]:
        """What the agent gets."""
        title = self.seal.seal(conversation_id, TITLE, chat.title.encode())
        content = self.seal.seal(conversation_id, CONTENT, document_bytes(chat))
        return {
            "owner": self.seal.owner,
            "id": conversation_id,
            "key": self.sha256,
            "models": chat.models,
            "title": base64.b64encode(title).decode("ascii"),
            "content": base64.b64encode(content).decode("ascii"),
        }

    def shown(self, one: dict[str, Any]) -> dict[str, Any]:
        """What the agent has of one, for a list; what is damaged has no title, and can be deleted."""
        try:
            title = self.seal.open(one["id"], TITLE, base64.b64decode(one["title"])).decode()
        except FormatError:
            title = ""
        return one | {"title": title}


def add_conversation_routes(app: FastAPI, box: Box) -> None:
    """Add them."""

    async def owner(request: Request) -> _Owner:
        header = request.headers.get("authorization")
        authenticate(header, await box.keys(), time.time())
        return _Owner(shown_key(header))

    @app.get("/conversations")
    async def listed(request: Request) -> dict[str, Any]:
        who = await owner(request)
        told = await box.conversation("POST", "/list", owner=who.seal.owner)
        return told | {"conversations": [who.shown(one) for one in told["conversations"]]}

    @app.post("/conversations")
    async def begin(request: Request) -> Response:
        who = await owner(request)
        chat = parse_kept_chat(await read_body(request, CONVERSATION_LIMIT))
        told = await box.conversation("POST", **who.sealed(secrets.token_hex(16), chat))
        return JSONResponse({"id": told["id"], "left_s": told["left_s"]}, status_code=201)

    @app.get("/conversations/{conversation_id}")
    async def read(request: Request, conversation_id: str) -> dict[str, Any]:
        who = await owner(request)
        known = _known(conversation_id)
        told = await box.conversation("POST", "/read", owner=who.seal.owner, id=known)
        try:
            content = who.seal.open(known, CONTENT, base64.b64decode(told["content"]))
            chat = parse_json(KeptChat, content, limit=2 * CONVERSATION_LIMIT)
        except FormatError:
            raise _unknown() from None
        return {"id": known} | chat.model_dump(mode="json")

    @app.put("/conversations/{conversation_id}")
    async def go_on(request: Request, conversation_id: str) -> dict[str, Any]:
        who = await owner(request)
        known = _known(conversation_id)
        chat = parse_kept_chat(await read_body(request, CONVERSATION_LIMIT))
        told = await box.conversation("PUT", **who.sealed(known, chat))
        return {"id": told["id"], "left_s": told["left_s"]}

    @app.delete("/conversations/{conversation_id}")
    async def remove(request: Request, conversation_id: str) -> dict[str, Any]:
        who = await owner(request)
        return await box.conversation("DELETE", "/one", owner=who.seal.owner, id=_known(conversation_id))

    @app.delete("/conversations")
    async def remove_all(request: Request) -> dict[str, Any]:
        who = await owner(request)
        return await box.conversation("DELETE", owner=who.seal.owner)


def _known(conversation_id: str) -> str:
    """An id in the form of ours.

    Raises:
        ApiError: 404.
    """
    if len(conversation_id) != 32 or not set(conversation_id) <= set("0123456789abcdef"):
        raise _unknown()
    return conversation_id


def _unknown() -> ApiError:
    return ApiError(404, "UNKNOWN_CONVERSATION", "There is no such conversation.")
