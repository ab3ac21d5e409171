"""The Engine protocol: what the gateway needs of whatever runs a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.meter import Tally

ADAPTER = "adapter"
"""Member of a request that names the adapter with which it is to be answered."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a loaded model can; it does not change."""

    tools: bool
    """Whether its chat template shows tools and calls."""
    width: int
    """Numbers in a hidden state, and so in an embedding."""
    context: int
    """Tokens of the longest request with its reply."""
    bpe: bool
    """Whether its vocabulary is BPE, before which a text is cut into words."""


class Engine(Protocol):
    """One loaded model.

    Requests are the allow-listed dictionaries of :mod:`.chat` and :mod:`.text_completion`, told apart by ``messages``
    and ``prompt``; :data:`ADAPTER` may be beside. Replies are OpenAI's. Closing the iterator of :meth:`stream`, or
    cancelling :meth:`whole`, stops the generation.
    """

    @property
    def model_id(self) -> str:
        """The name under which clients ask for the model: its payload id."""
        ...

    async def ready(self) -> bool:
        """Whether the model is loaded and answers."""
        ...

    async def abilities(self) -> Abilities:
        """What the model can.

        Raises:
            ApiError: the engine does not answer.
        """
        ...

    async def adapters(self) -> frozenset[str]:
        """Ids of the customer's adapters with which it can answer.

        Raises:
            ApiError: the engine does not answer.
        """
        ...

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, a JSON object; what it takes is counted in ``tally``.

        Raises:
            ApiError: the engine refused the request or does not answer.
        """
        ...

    def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        """A reply as server-sent events, ending with ``data: [DONE]``. Raises like :meth:`whole` before the first."""
        ...

    async def embed(self, request: dict[str, Any], tally: Tally) -> Embedded:
        """The vectors of some texts.

        Raises:
            ApiError: the model gives none, or what :meth:`whole` raises.
        """
        ...

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        """Tokens of a text or a conversation. Raises like :meth:`whole`."""
        ...
