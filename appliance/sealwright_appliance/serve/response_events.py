"""Replies of the Responses API, made of the engine's chat events as they come."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from sealwright_appliance.documents.messages import FoundPassage
from sealwright_appliance.serve.file_search import Search, citations
from sealwright_appliance.serve.responses import ResponseRequest

DATA = b"data: "
DONE = b"data: [DONE]"
EVENT_END = b"\n\n"


class ResponseReply:
    """One reply: what has come of it, and the events that tell of it.

    Args:
        search: what of the customer's documents the model is shown, if it was to answer from them.
    """

    def __init__(self, request: ResponseRequest, search: Search | None = None) -> None:
        self._request = request
        self._search = search
        self._id = f"resp_{secrets.token_hex(16)}"
        self._created = int(time.time())
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        """The item that grows; the last of the output."""
        self._call = -1
        """Index of the call that grows."""
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None

    async def stream(self, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Translate a stream of chat events."""
        begun = False
        async with aclosing(events):
            async for block in events:
                told = [] if begun else list(self._begun())
                begun = True
                if told := told + list(self._events(block)):
                    yield b"".join(told)

    async def collect(self, events: AsyncGenerator[bytes, None]) -> bytes:
        """The whole reply as one JSON object."""
        async for _ in self.stream(events):
            pass
        return _json(self._described())

    def _begun(self) -> Iterator[bytes]:
        yield self._event("response.created")
        yield self._event("response.in_progress")
        if self._search is None:
            return
        item = {"id": f"fs_{secrets.token_hex(16)}", "type": "file_search_call", "queries": [self._search.question]}
        yield from self._begin(item | {"status": "in_progress", "results": None, "vectors": self._search.vectors})
        for state in ("in_progress", "searching", "completed"):
            yield self._of_item(f"response.file_search_call.{state}")
        if self._search.with_results:
            self._output[-1]["results"] = [_result(one) for one in self._search.passages]
        yield from self._close()

    def _events(self, block: bytes) -> Iterator[bytes]:
        for event in block.split(EVENT_END):
            if event.startswith(DONE):
                yield from self._close()
                yield self._event(f"response.{self._status()}")
            elif event.startswith(DATA):
                yield from self._take(json.loads(event[len(DATA) :]))

    def _take(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if text := delta.get("content"):
                yield from self._say(text)
            for call in delta.get("tool_calls", ()):
                yield from self._add_call(call)
            self._finish = choice["finish_reason"] or self._finish

    def _say(self, text: str) -> Iterator[bytes]:
        if self._open is None or self._open["type"] != "message":
            yield from self._close()
            item = {"id": f"msg_{secrets.token_hex(16)}", "type": "message", "role": "assistant"}
            yield from self._begin(item | {"status": "in_progress", "content": []})
            part = _text_part("")
            yield self._of_part("response.content_part.added", part=part)
            self._output[-1]["content"].append(part)
        self._output[-1]["content"][0]["text"] += text
        yield self._of_part("response.output_text.delta", delta=text, logprobs=[])

    def _add_call(self, call: dict[str, Any]) -> Iterator[bytes]:
        function = call.get("function", {})
        if self._open is None or self._open["type"] != "function_call" or call["index"] != self._call:
            yield from self._close()
            self._call = call["index"]
            item = {"id": f"fc_{secrets.token_hex(16)}", "type": "function_call", "status": "in_progress"}
            yield from self._begin(item | {"call_id": call["id"], "name": function["name"], "arguments": ""})
        if arguments := function.get("arguments"):
            self._output[-1]["arguments"] += arguments
            yield self._of_item("response.function_call_arguments.delta", delta=arguments)

    def _begin(self, item: dict[str, Any]) -> Iterator[bytes]:
        self._open = item
        self._output.append(item)
        yield self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _close(self) -> Iterator[bytes]:
        """End the item that grows."""
        item, self._open = self._open, None
        if item is None:
            return
        item["status"] = "incomplete" if self._finish == "length" else "completed"
        if item["type"] == "file_search_call":
            item["status"] = "completed"
        elif item["type"] == "message":
            (part,) = item["content"]
            for number, citation in enumerate(self._citations(part["text"])):
                part["annotations"].append(citation)
                told = {"annotation_index": number, "annotation": citation}
                yield self._of_part("response.output_text.annotation.added", **told)
            yield self._of_part("response.output_text.done", text=part["text"], logprobs=[])
            yield self._of_part("response.content_part.done", part=part)
        else:
            yield self._of_item("response.function_call_arguments.done", arguments=item["arguments"])
        yield self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _citations(self, text: str) -> list[dict[str, Any]]:
        return [] if self._search is None else citations(text, self._search.passages)

    def _of_part(self, kind: str, **members: Any) -> bytes:
        return self._of_item(kind, content_index=0, **members)

    def _of_item(self, kind: str, **members: Any) -> bytes:
        at = len(self._output) - 1
        return self._event(kind, item_id=self._output[at]["id"], output_index=at, **members)

    def _event(self, kind: str, **members: Any) -> bytes:
        """A server-sent event; one without members has the whole response."""
        told = {"type": kind, "sequence_number": self._number} | (members or {"response": self._described()})
        self._number += 1
        return b"event: " + kind.encode() + b"\n" + DATA + _json(told) + EVENT_END

    def _status(self) -> str:
        if self._finish is None:
            return "in_progress"
        return "incomplete" if self._finish == "length" else "completed"

    def _described(self) -> dict[str, Any]:
        asked, status = self._request, self._status()
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": asked.model,
            "output": self._output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text"}} if asked.text is None else asked.text.described(),
            "tool_choice": _choice(asked),
            "tools": [tool.described() for tool in asked.tools or ()],
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": _usage(self._usage),
        }


def _choice(asked: ResponseRequest) -> Any:
    if asked.tool_choice is None:
        return "auto"
    return asked.tool_choice if isinstance(asked.tool_choice, str) else asked.tool_choice.model_dump()


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _result(one: FoundPassage) -> dict[str, Any]:
    """A passage that the model was shown; OpenAI's members, and the place in ``attributes``."""
    place = {"page": one.page, "paragraph": one.paragraph}
    attributes = {name: number for name, number in place.items() if number is not None}
    return {
        "file_id": one.document_id,
        "filename": one.name,
        "score": one.score,
        "text": one.text,
        "attributes": attributes,
    }


def _usage(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of prompts that the engine has kept nothing is told: others have asked them."""
    if usage is None:
        return None
    read, made = usage["prompt_tokens"], usage["completion_tokens"]
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + made,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
