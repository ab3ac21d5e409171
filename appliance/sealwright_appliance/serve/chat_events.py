"""The engine's events of a chat, as the client gets them; what they take is counted."""

from __future__ import annotations

from typing import Any

from sealwright_appliance.serve.logprobs import rounded_events
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.usage_events import CallCount, count_events

TIMED = {"timings_per_token": True}
"""With tools an event is no token: the engine holds a call back until it can be read."""


class ChatEvents:
    """Of one request."""

    def __init__(self, request: dict[str, Any], tally: Tally) -> None:
        self._tally = tally
        self._show_usage = bool(request.get("stream_options", {}).get("include_usage"))
        self._top = request.get("top_logprobs", 0)
        self._numbers = bool(request.get("logprobs"))
        self._calls = CallCount(tally) if "tools" in request else None

    @property
    def asked(self) -> dict[str, Any]:
        """What the engine is asked for besides."""
        # Without a number llama-server takes 20, and of 0 it makes none at all.
        numbers = {"top_logprobs": max(1, self._top)} if self._numbers else {}
        return numbers | ({} if self._calls is None else TIMED)

    def shown(self, block: bytes) -> bytes:
        """What of whole events is the client's."""
        shown = count_events(block, self._tally, show_usage=self._show_usage)
        if self._calls is not None:
            self._calls.add(block)
        return rounded_events(shown, self._top) if self._numbers and shown else shown
