"""The gateway's view of the customer's adapters: what the adapter service says over its UNIX socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance.adapters.messages import (
    REPLY_LIMIT,
    AdapterOperation,
    AdapterReply,
    AdapterRequest,
    AdapterState,
    KeptAdapter,
    TrainingCounts,
    parse_adapter_reply,
)
from sealwright_appliance.adapters.refusals import SENTENCES, AdapterCode
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.keys import ApiKey
from sealwright_appliance.serve.local_requests import request_reply
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import document_bytes

TIMEOUT_S = 60.0
COUNT_TIMEOUT_S = 3.0
"""Of a monitor's question, which gives up within 10 s (Prometheus' scrape_timeout) and would have no metrics at all."""
SEPARATOR = ":"
"""Between a model and the name of its adapter, where a client names both as its model."""
_STATUS = {
    AdapterCode.NOT_ALLOWED: 403,
    AdapterCode.EXISTS: 409,
    AdapterCode.FULL: 409,
    AdapterCode.NOT_READY: 409,
    AdapterCode.UNKNOWN: 404,
    AdapterCode.TOO_LARGE: 413,
    AdapterCode.DISK_FULL: 507,
    AdapterCode.UNAVAILABLE: 503,
}
"""All others are the request's fault: 400."""
_PARAMETER = {
    AdapterCode.NOT_ALLOWED: "model",
    AdapterCode.OTHER_MODEL: "model",
    AdapterCode.NOT_READY: "model",
    AdapterCode.NAME: "name",
    AdapterCode.EXISTS: "name",
    AdapterCode.EXAMPLES: "examples",
    AdapterCode.TOO_FEW: "examples",
    AdapterCode.TOO_MANY: "examples",
    AdapterCode.TOO_LARGE: "examples",
}
UNAVAILABLE_RETRY_S = 30


def refused(code: AdapterCode, line: int | None = None) -> ApiError:
    """A refusal as the API has it.

    Args:
        line: of the examples.
    """
    message = SENTENCES[code] if line is None else f"Line {line}: {SENTENCES[code]}"
    retry_after_s = UNAVAILABLE_RETRY_S if code is AdapterCode.UNAVAILABLE else None
    status, param = _STATUS.get(code, 400), _PARAMETER.get(code)
    return ApiError(status, code, message, param=param, retry_after_s=retry_after_s, line=line)


def may_use(adapter: KeptAdapter, key: ApiKey) -> bool:
    """Whether an adapter is there for whoever shows a key."""
    return key.may_ask(adapter.model) and (key.admin or adapter.keys is None or key.name in adapter.keys)


@dataclass(frozen=True, slots=True)
class AdapterCounts:
    """What monitors are told."""

    states: Mapping[AdapterState, int]
    """How many adapters there are; a state without one is not in it."""
    trainings: TrainingCounts


class Adapters:
    """The adapter service behind its socket. Every call raises ApiError for what is refused.

    Args:
        members: by model, the member of a domain in which adapters of it lie; what is not named has none.
    """

    def __init__(self, socket: Path, members: Mapping[str, str]) -> None:
        self._socket = socket
        self.members = members

    async def add(self, model: str, name: str, keys: list[str] | None, examples: bytes) -> KeptAdapter:
        """Have an adapter trained."""
        if model not in self.members:
            raise refused(AdapterCode.NOT_ALLOWED)
        asked = AdapterRequest(operation=AdapterOperation.ADD, model=model, name=name, keys=keys, size=len(examples))
        reply = await self._ask(asked, examples)
        if not reply.adapters:
            raise refused(AdapterCode.UNAVAILABLE)
        return reply.adapters[0]

    async def seen_by(self, key: ApiKey) -> list[KeptAdapter]:
        """Adapters that whoever shows a key may use, the oldest first."""
        if not self.members:
            return []
        reply = await self._ask(AdapterRequest(operation=AdapterOperation.LIST))
        return [one for one in self._ours(reply) if may_use(one, key)]

    async def one(self, adapter_id: str, key: ApiKey) -> KeptAdapter:
        """An adapter."""
        found = next((one for one in await self.seen_by(key) if one.adapter_id == adapter_id), None)
        if found is None:
            raise refused(AdapterCode.UNKNOWN)
        return found

    async def counts(self) -> AdapterCounts | None:
        """How many there are; None where there can be none, or nobody tells at this moment."""
        if not self.members:
            return None
        try:
            reply = await self._ask(AdapterRequest(operation=AdapterOperation.LIST), timeout_s=COUNT_TIMEOUT_S)
        except ApiError:
            return None
        return AdapterCounts(Counter(one.state for one in self._ours(reply)), reply.trainings or TrainingCounts())

    async def delete(self, adapter_id: str) -> None:
        """Have it forgotten."""
        await self._ask(AdapterRequest(operation=AdapterOperation.DELETE, adapter_id=adapter_id))

    async def chosen(self, model: str, name: str, key: ApiKey) -> KeptAdapter | None:
        """The adapter of a model that is asked for; None if there is none that this key may use.

        Raises:
            ApiError: it is for another model, or not trained yet.
        """
        named = [one for one in await self.seen_by(key) if one.name == name]
        found = next((one for one in named if one.model == model), None)
        if found is None and named:
            raise refused(AdapterCode.OTHER_MODEL)
        if found is not None and found.state is not AdapterState.READY:
            raise refused(AdapterCode.NOT_READY)
        return found

    def _ours(self, reply: AdapterReply) -> list[KeptAdapter]:
        """Those of this release's domains."""
        return [one for one in reply.adapters or () if one.member == self.members.get(one.model)]

    async def _ask(self, asked: AdapterRequest, examples: bytes = b"", *, timeout_s: float = TIMEOUT_S) -> AdapterReply:
        message = document_bytes(asked)
        try:
            said = await request_reply(self._socket, message, _one(examples), limit=REPLY_LIMIT, timeout_s=timeout_s)
            reply = parse_adapter_reply(said)
        except (OSError, FormatError):
            raise refused(AdapterCode.UNAVAILABLE) from None
        if reply.error is not None:
            raise refused(reply.error, reply.line)
        return reply


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
