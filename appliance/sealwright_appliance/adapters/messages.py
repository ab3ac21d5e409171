"""What gateway, adapter service and trainer say to each other (policies/spec/own-adapters.md, 4 and 5).

Messages are those of :mod:`sealwright_appliance.local_messages`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from sealwright_appliance.adapters.examples import BYTES_MOST
from sealwright_appliance.adapters.refusals import AdapterCode
from sealwright_appliance.adapters.weights import LearnedAdapter
from sealwright_policies.wire.encoding import Document, Identifier, parse_json

REQUEST_LIMIT = 16 * 1024
"""Bytes of a request, without its examples."""
RECORD_LIMIT = 2 * REQUEST_LIMIT
"""Bytes of what is kept of an adapter: what was asked, and how far it has come."""
REPLY_LIMIT = 1024 * 1024
FRAME_LIMIT = 512 * 1024
"""Bytes of what a trainer says, without its numbers: names of 4096 matrices."""
CHECKPOINT_MOST = 256 * 1024 * 1024
ADAPTERS_MOST = 64
"""Of one model; a domain says how many it lets be."""
KEYS_MOST = 64
LOSS_MOST = 1e6
LOSS_DIGITS = 4
"""Significant digits of a loss that is told: with all of its digits it would carry a word of the data."""
AdapterId = Annotated[str, Field(pattern=r"^adapter-[0-9a-f]{24}$")]
AdapterName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,27}$")]
Loss = Annotated[float, Field(ge=0, le=LOSS_MOST, allow_inf_nan=False)]
Percent = Annotated[int, Field(ge=0, le=100)]
KeyNames = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=KEYS_MOST)]


class AdapterState(StrEnum):
    """How far an adapter has come."""

    QUEUED = "queued"
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"


class TrainingFailure(StrEnum):
    """Why there is none."""

    ENDED = "trainer_ended"
    """Its trainer ended before it was done, more than once at the same place."""
    MALFORMED = "trainer_malformed"
    """What its trainer said is no adapter of this model."""


class KeptAdapter(Document):
    """An adapter, or what is to become one."""

    adapter_id: AdapterId
    model: Identifier
    """Payload id of the model that it changes."""
    member: Identifier
    """Member of the domain in which it lies; an engine is called so."""
    name: AdapterName
    created: Annotated[int, Field(ge=0)]
    expires: Annotated[int, Field(ge=0)]
    """The days of the domain are over. Both by the calendar of retention, seconds since the epoch."""
    left_s: Annotated[int, Field(ge=0)] | None = None
    """Until then, where it is shown."""
    examples: Annotated[int, Field(ge=0)]
    keys: KeyNames | None = None
    """Names of the API keys that may use it; None: all."""
    state: AdapterState = AdapterState.QUEUED
    percent: Percent = 0
    failure: TrainingFailure | None = None
    attempts: Annotated[int, Field(ge=0)] = 0
    """That have ended too soon since the last checkpoint."""
    loss_before: Loss | None = None
    loss_after: Loss | None = None
    """Mean loss of a token of the examples that were held out."""


class AdapterOperation(StrEnum):
    """What can be asked."""

    ADD = "add"
    LIST = "list"
    DELETE = "delete"


class AdapterRequest(Document):
    """What the gateway asks."""

    operation: AdapterOperation
    adapter_id: AdapterId | None = None
    """Of DELETE."""
    model: Annotated[str, Field(max_length=256)] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    keys: KeyNames | None = None
    size: Annotated[int, Field(ge=0, le=BYTES_MOST + 1)] | None = None
    """Of ADD: bytes of the examples behind this document."""


class TrainingCounts(Document):
    """Trainings that have ended since the service was started."""

    finished: Annotated[int, Field(ge=0)] = 0
    failed: Annotated[int, Field(ge=0)] = 0


class AdapterReply(Document):
    """What came of it."""

    error: AdapterCode | None = None
    line: int | None = None
    """Of the examples, where the error is of one."""
    adapters: Annotated[list[KeptAdapter], Field(max_length=ADAPTERS_MOST * 64)] | None = None
    models: Annotated[list[Identifier], Field(max_length=64)] | None = None
    """Those of which adapters may be trained."""
    trainings: TrainingCounts | None = None


class TrainingJob(Document):
    """What a trainer is told; examples and checkpoint follow."""

    version: Literal[1] = 1
    model: Identifier
    held_out: int
    """Every so manieth example is judged by, and not learned."""
    examples: int
    checkpoint: int
    """Bytes; 0: there is none."""


class Trained(Document):
    """The end of a training; the numbers follow."""

    adapter: LearnedAdapter
    loss_before: Loss
    loss_after: Loss


class TrainerWord(Document):
    """What a trainer says: how far it is, and at times a checkpoint or, at the end, the adapter."""

    percent: Percent
    checkpoint: Annotated[int, Field(ge=1, le=CHECKPOINT_MOST)] | None = None
    """Bytes that follow."""
    trained: Trained | None = None


def parse_adapter_request(content: bytes) -> AdapterRequest:
    """Read a request.

    Raises:
        FormatError: it is none.
    """
    return parse_json(AdapterRequest, content, limit=REQUEST_LIMIT)


def parse_adapter_reply(content: bytes) -> AdapterReply:
    """Read a reply.

    Raises:
        FormatError: it is none.
    """
    return parse_json(AdapterReply, content, limit=REPLY_LIMIT)


def parse_kept_adapter(content: bytes) -> KeptAdapter:
    """Read what is kept of an adapter.

    Raises:
        FormatError: it is damaged.
    """
    return parse_json(KeptAdapter, content, limit=RECORD_LIMIT)


def parse_trainer_word(content: bytes) -> TrainerWord:
    """Read what a trainer says.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(TrainerWord, content, limit=FRAME_LIMIT)
