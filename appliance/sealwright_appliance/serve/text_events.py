"""The engine's events of a text completion, as the client gets them; what they take is counted.

llama-server differs from OpenAI in four things: ids are those of chats, the last event of a choice has its usage,
progress through the prompt comes between, and log probabilities have the form of chats.
"""

from __future__ import annotations

import json
from typing import Any

from sealwright_appliance.serve.logprobs import rounded
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.usage_events import DATA, EVENT_END, PROGRESS, told

USAGE = b'"usage":{'
NUMBERS = b'"logprobs":{'
CHAT_ID, TEXT_ID = b'"id":"chatcmpl-', b'"id":"cmpl-'
"""Within text JSON escapes the quotes."""


class TextEvents:
    """Of one request."""

    def __init__(self, request: dict[str, Any], tally: Tally) -> None:
        self._tally = tally
        self._show_usage = bool(request.get("stream_options", {}).get("include_usage"))
        self._top: int | None = request.get("logprobs")
        self._several = len(request["prompt"]) > 1
        self._offsets: dict[int, int] = {}
        """Characters of each choice so far."""

    @property
    def asked(self) -> dict[str, Any]:
        """What the engine is asked for besides: of 0 alternatives it makes no numbers at all."""
        return {} if self._top is None else {"logprobs": max(1, self._top)}

    def shown(self, block: bytes) -> bytes:
        """What of whole events is the client's."""
        return b"".join(self._shown(event) for event in block.split(EVENT_END) if event)

    def _shown(self, event: bytes) -> bytes:
        if PROGRESS in event:
            self._tally.prompt_seen = max(self._tally.prompt_seen, told(event, "prompt_progress", "processed"))
            return b""
        event = event.replace(CHAT_ID, TEXT_ID, 1)
        if USAGE in event:
            return self._last(event)
        if event.startswith(DATA + b"{"):
            self._tally.tokens_seen += 1
            if NUMBERS in event:
                return _event(self._with_numbers(json.loads(event[len(DATA) :])))
        return event + EVENT_END

    def _last(self, event: bytes) -> bytes:
        """The last event of a choice, and one of its usage if the client wants it."""
        prompt, made = (told(event, "usage", name) for name in ("prompt_tokens", "completion_tokens"))
        self._tally.used(prompt, made, own_prompt=self._several)
        chunk = json.loads(event[len(DATA) :])
        chunk.pop("timings", None)
        usage = chunk.pop("usage")
        usage.pop("prompt_tokens_details", None)
        shown = _event(chunk)
        return shown + _event(chunk | {"choices": [], "usage": usage}) if self._show_usage else shown

    def _with_numbers(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """OpenAI's older form: lists as long as the text has tokens."""
        for choice in chunk["choices"]:
            content = rounded(choice["logprobs"]["content"], self._top or 0)
            offset = self._offsets.get(choice["index"], 0)
            self._offsets[choice["index"]] = offset + len(choice["text"])
            choice["logprobs"] = {
                "tokens": [one["token"] for one in content],
                "token_logprobs": [one["logprob"] for one in content],
                "top_logprobs": [{it["token"]: it["logprob"] for it in one["top_logprobs"]} for one in content],
                "text_offset": [offset for _ in content],
            }
        return chunk


def _event(chunk: dict[str, Any]) -> bytes:
    return DATA + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + EVENT_END
