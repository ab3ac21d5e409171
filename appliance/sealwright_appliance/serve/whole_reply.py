"""A whole reply out of a streamed one.

llama-server is only ever asked for streams. It finds out that a client has left when it writes, or when nothing
happens for a second; for a whole reply it writes at the end alone, and on a busy engine something always happens, so an
abandoned one would be generated to its end.
"""

from __future__ import annotations

import json
from typing import Any

DATA = b"data: "
DONE = b"[DONE]"
NUMBER_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


class WholeReply:
    """Collects the chunks of one ``chat.completion`` or ``text_completion``.

    Args:
        prompts: of which each choice has its own, if there are several.
    """

    def __init__(self, prompts: int = 1) -> None:
        self._summed = ("prompt_tokens", "completion_tokens") if prompts > 1 else ("completion_tokens",)
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}
        self._numbers: dict[int, list[Any]] = {}

    def add(self, events: bytes) -> None:
        """Add whole server-sent events, each one line of data."""
        for line in events.split(b"\n"):
            if line.startswith(DATA) and not line.startswith(DATA + DONE):
                self._add(json.loads(line[len(DATA) :]))

    def _add(self, chunk: dict[str, Any]) -> None:
        self._head = self._head or {name: chunk.get(name) for name in ("id", "created", "model", "system_fingerprint")}
        for part in chunk["choices"]:
            if "text" in part:
                self._add_text(part)
                continue
            choice = self._choices.setdefault(part["index"], {"role": "assistant", "content": ""})
            if numbers := part.get("logprobs"):
                self._numbers.setdefault(part["index"], []).extend(numbers["content"])
            for name, text in part["delta"].items():
                if isinstance(text, str) and name != "role":
                    choice[name] = choice.get(name, "") + text
            for call in part["delta"].get("tool_calls", ()):
                _add_call(choice.setdefault("tool_calls", []), call)
            if part["finish_reason"] is not None:
                choice["finish_reason"] = part["finish_reason"]
        if usage := chunk.get("usage"):
            for name in self._summed:
                usage[name] += self._usage.get(name, 0)
            self._usage = usage | {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]}

    def _add_text(self, part: dict[str, Any]) -> None:
        choice = self._choices.setdefault(
            part["index"], {"index": part["index"], "text": "", "finish_reason": None, "logprobs": None}
        )
        choice["text"] += part["text"]
        choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
        if numbers := part.get("logprobs"):
            held = choice["logprobs"] = choice["logprobs"] or {name: [] for name in NUMBER_LISTS}
            for name in NUMBER_LISTS:
                held[name] += numbers[name]

    def text_document(self) -> bytes:
        """The reply to a text as one JSON object."""
        choices = [choice for _, choice in sorted(self._choices.items())]
        return _document(self._head | {"object": "text_completion", "choices": choices, "usage": self._usage})

    def document(self) -> bytes:
        """The reply to a chat as one JSON object."""
        choices = []
        for index, message in sorted(self._choices.items()):
            reason = message.pop("finish_reason", None)
            if "tool_calls" in message:
                message["content"] = message["content"] or None
            numbers = {"content": self._numbers[index]} if index in self._numbers else None
            choices.append({"index": index, "message": message, "finish_reason": reason, "logprobs": numbers})
        return _document(self._head | {"object": "chat.completion", "choices": choices, "usage": self._usage})


def _document(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, ensure_ascii=False).encode()


def _add_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a piece of a call: the first has its name, the others more of its arguments."""
    index, function = part["index"], part.get("function", {})
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    calls[index]["id"] = part.get("id") or calls[index]["id"]
    for name in calls[index]["function"]:
        calls[index]["function"][name] += function.get(name) or ""
