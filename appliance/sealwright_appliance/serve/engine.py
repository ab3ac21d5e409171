"""The Engine protocol: what the gateway needs of whatever runs a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from sealwright_appliance.serve.meter import Tally


class Engine(Protocol):
    """One loaded model.

    Requests are the allow-listed dictionaries of :mod:`sealwright_appliance.serve.chat`; replies are OpenAI's.
    Closing the iterator of :meth:`stream_chat`, or cancelling :meth:`chat`, stops the generation.
    """

    @property
    def model_id(self) -> str:
        """The name under which clients ask for the model: its payload id."""
        ...

    async def ready(self) -> bool:
        """Whether the model is loaded and answers."""
        ...

    async def chat(self, request: dict[str, Any], tally: Tally) -> bytes:
        """A whole reply, a JSON object; what it takes is counted in ``tally``.

        Raises:
            ApiError: the engine refused the request or does not answer.
        """
        ...

    def stream_chat(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        """A reply as server-sent events, ending with ``data: [DONE]``. Raises like :meth:`chat` before the first."""
        ...
