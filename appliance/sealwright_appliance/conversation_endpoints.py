"""Conversations on the agent's socket, as the gateway has sealed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.conversations import (
    CONTENT_MOST,
    ConversationId,
    Conversations,
    Kept,
    Models,
    OwnerTag,
    Sealed,
    SealedTitle,
)
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_policies.wire.encoding import Bytes1M, Document, Identifier, Sha256Hex


class Owned(Document):
    """``POST /conversations/list``, ``DELETE /conversations``."""

    owner: OwnerTag


class OwnedOne(Owned):
    """``POST /conversations/read``, ``DELETE /conversations/one``."""

    id: ConversationId


class SealedConversation(OwnedOne):
    """``POST`` and ``PUT /conversations``."""

    key: Sha256Hex
    models: Models
    title: SealedTitle
    content: Annotated[Bytes1M, Field(max_length=CONTENT_MOST)]


class KeptConversation(Document):
    """What is there of one."""

    id: ConversationId
    models: list[Identifier]
    title: SealedTitle
    left_s: int


class KeptConversations(Document):
    """Reply to ``POST /conversations/list``."""

    kept: dict[str, int]
    """Days by model."""
    conversations: list[KeptConversation]


class SealedContent(Document):
    """Reply to ``POST /conversations/read``."""

    content: Bytes1M


def add_conversations(app: FastAPI, conversations: Conversations) -> None:
    """Add the routes."""

    @app.post("/conversations/list")
    async def listed(asked: Owned) -> KeptConversations:
        def look() -> KeptConversations:
            kept = [_shown(one) for one in conversations.of(asked.owner)]
            return KeptConversations(kept=dict(conversations.days()), conversations=kept)

        return await run_in_threadpool(look)

    @app.post("/conversations/read")
    async def read(asked: OwnedOne) -> SealedContent:
        _, content = await run_in_threadpool(conversations.read, asked.owner, asked.id)
        return SealedContent(content=content)

    @app.post("/conversations")
    async def begin(sealed: SealedConversation) -> KeptConversation:
        return await run_in_threadpool(_store, conversations, sealed, new=True)

    @app.put("/conversations")
    async def go_on(sealed: SealedConversation) -> KeptConversation:
        return await run_in_threadpool(_store, conversations, sealed, new=False)

    @app.delete("/conversations/one")
    async def remove(asked: OwnedOne) -> dict[str, int]:
        return {"removed": await run_in_threadpool(conversations.remove, asked.owner, asked.id)}

    @app.delete("/conversations")
    async def remove_all(asked: Owned) -> dict[str, int]:
        return {"removed": await run_in_threadpool(conversations.remove, asked.owner)}


def _store(conversations: Conversations, one: SealedConversation, *, new: bool) -> KeptConversation:
    sealed = Sealed(one.id, one.models, one.title, one.content)
    return _shown(conversations.store(one.owner, one.key, sealed, new=new))


def _shown(one: Kept) -> KeptConversation:
    return KeptConversation(id=one.conversation_id, models=one.head.models, title=one.head.title, left_s=one.left_s)


@dataclass(frozen=True)
class PromptsDays:
    """For how long the domains of the running release let prompts be kept."""

    own: OwnDomains

    @cached_property
    def by_model(self) -> Mapping[str, int]:
        """Of each model and adapter of the release, open or not; 0 where it has no such domain.

        Raises:
            FormatError, VerificationError: root and manifest do not agree.
        """
        served, known = self.own.served(), frozenset(self.own.names())
        days = {name: self.own.load(name).retention.prompts_days for name in known & frozenset(served.values())}
        return {model: days.get(domain, 0) for model, domain in served.items()}
