"""vLLM's events of chats and texts, as the client gets them; what they take is counted.

Each is written anew: of what vLLM says besides (ids of tokens, what it had kept of a prompt, its own reasons) nothing
is passed on. How many tokens there were so far stands in each event, for its choice.
"""

from __future__ import annotations

import json
from typing import Any

from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.logprobs import DIGITS, rounded
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.usage_events import DATA, EVENT_END, MOST

DONE = b"data: [DONE]\n\n"
HEAD = ("id", "object", "created", "model")
USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")


class VllmEvents:
    """Of one request."""

    def __init__(self, request: dict[str, Any], tally: Tally) -> None:
        self._tally = tally
        self._show_usage = bool(request.get("stream_options", {}).get("include_usage"))
        self._is_text = "prompt" in request
        self._top: int = (request.get("logprobs") if self._is_text else request.get("top_logprobs")) or 0
        self._by_choice: dict[int, int] = {}

    def shown(self, block: bytes) -> bytes:
        """What of whole events is the client's.

        Raises:
            ApiError: one says that vLLM has failed, or is none.
        """
        return b"".join(self._shown(event) for event in block.split(EVENT_END) if event)

    def _shown(self, event: bytes) -> bytes:
        if event + EVENT_END == DONE:
            return DONE
        try:
            chunk = json.loads(event.removeprefix(DATA))
            if "error" in chunk:
                raise _failed(chunk["error"])
            usage = {name: _counted(chunk["usage"][name]) for name in USAGE}
            head = {name: chunk[name] for name in HEAD}
            choices = [self._choice(one) for one in chunk["choices"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise engine_unavailable() from None
        if choices:
            self._count(choices[0]["index"], usage)
            return _event(head | {"choices": choices})
        self._tally.used(usage["prompt_tokens"], usage["completion_tokens"])
        return _event(head | {"choices": [], "usage": usage}) if self._show_usage else b""

    def _count(self, choice: int, usage: dict[str, int]) -> None:
        self._by_choice[choice] = usage["completion_tokens"]
        self._tally.tokens_seen = sum(self._by_choice.values())
        self._tally.prompt_seen = max(self._tally.prompt_seen, usage["prompt_tokens"])

    def _choice(self, said: dict[str, Any]) -> dict[str, Any]:
        numbers = said.get("logprobs")
        reason = said.get("finish_reason")
        if reason not in (None, "stop", "length"):
            raise engine_unavailable()
        choice = {"index": int(said["index"]), "logprobs": None, "finish_reason": reason}
        if self._is_text:
            return choice | {"text": str(said["text"]), "logprobs": numbers and self._text_numbers(numbers)}
        delta = {name: said["delta"][name] for name in ("role", "content") if said["delta"].get(name) is not None}
        return choice | {"delta": delta, "logprobs": numbers and {"content": rounded(numbers["content"], self._top)}}

    def _text_numbers(self, said: dict[str, Any]) -> dict[str, Any]:
        return {
            "tokens": said["tokens"],
            "token_logprobs": [round(one, DIGITS) for one in said["token_logprobs"]],
            "top_logprobs": [self._likeliest(one or {}) for one in said["top_logprobs"]],
            "text_offset": said["text_offset"],
        }

    def _likeliest(self, alternatives: dict[str, float]) -> dict[str, float]:
        """vLLM names the token itself among its alternatives, and first, however likely it is."""
        ordered = sorted(alternatives.items(), key=lambda one: -one[1])
        return {token: round(number, DIGITS) for token, number in ordered[: self._top]}


def _failed(error: dict[str, Any]) -> ApiError:
    """vLLM reads a request's schema only when its reply has begun."""
    code = error["code"]
    if isinstance(code, int) and 400 <= code < 500:
        return ApiError(400, "invalid_request", "The model cannot take this request.")
    return engine_unavailable()


def _counted(number: object) -> int:
    if not isinstance(number, int):
        raise TypeError
    return min(max(number, 0), MOST)


def _event(chunk: dict[str, Any]) -> bytes:
    return DATA + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + EVENT_END
