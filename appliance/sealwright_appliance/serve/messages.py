"""Turns of a conversation, as clients send them and as the engine gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import from_json

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import is_number_of_json, parts, texts, texts_shown
from sealwright_appliance.serve.request_parts import Part, ShortText
from sealwright_appliance.serve.unbroken import require_breaks

MESSAGES_LIMIT = 1024
"""Messages in one conversation."""
CALLS_MOST = 64
"""In one message."""
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class TextPart(Part):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class FunctionCall(Part):
    """A function, and with what the model wants it called."""

    name: FunctionName
    arguments: str
    """A JSON object as text."""

    @property
    def decoded(self) -> Any:
        """What the arguments say. Only where :func:`require_consistent` has been.

        Raises:
            ValueError: they are no JSON.
        """
        return from_json(self.arguments, allow_inf_nan=False)

    def for_engine(self) -> dict[str, str]:
        """Arguments written anew: with no character that is written as an escape without need, and no name twice."""
        return {"name": self.name, "arguments": json.dumps(self.decoded, ensure_ascii=False)}


class ToolCall(Part):
    """A call that the model asked for."""

    id: ShortText
    type: Literal["function"]
    function: FunctionCall

    def for_engine(self) -> dict[str, Any]:
        """With its function as the engine gets it."""
        return {"id": self.id, "type": self.type, "function": self.function.for_engine()}


class Message(Part):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: ShortText | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=CALLS_MOST)] | None = None
    tool_call_id: ShortText | None = None
    reasoning_content: str | None = None
    """Of an earlier reply, which programs send back whole. It is not shown to the model again; nor are these:"""
    refusal: str | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    @property
    def text(self) -> str:
        """What is said; empty if nothing."""
        parts = self.content or ""
        return parts if isinstance(parts, str) else "".join(part.text for part in parts)

    @property
    def uses_tools(self) -> bool:
        """Whether a template must know tools to show it."""
        return self.role == "tool" or bool(self.tool_calls)

    def turn(self) -> tuple[str, str]:
        """Role and everything in it, calls and a tool's name included."""
        made = [call.function.for_engine() for call in self.tool_calls or ()]
        calls = [f"{call['name']} {call['arguments']}" for call in made]
        named = [self.name] if self.role == "tool" and self.name else []
        return self.engine_role, "\n".join([*named, self.text, *calls])

    def texts(self) -> Iterator[str]:
        """Every text that a template may show of it."""
        yield from texts(self.for_engine())
        for call in self.tool_calls or ():
            yield from texts_shown(call.function.decoded)

    @property
    def engine_role(self) -> str:
        """The role as chat templates know it."""
        return "system" if self.role == "developer" else self.role

    def for_engine(self) -> dict[str, Any]:
        """Plain text content under the roles that chat templates know."""
        message: dict[str, Any] = {"role": self.engine_role, "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [call.for_engine() for call in self.tool_calls]
        if self.role == "tool":
            message["tool_call_id"] = self.tool_call_id
            message |= {"name": self.name} if self.name else {}
        return message


def require_consistent(messages: Sequence[Message]) -> None:
    """Refuse turns that no template can show, and texts without a break.

    Raises:
        ApiError: 400 with the place.
    """
    for at, message in enumerate(messages):
        where = f"messages.{at}"
        if message.role == "tool" and message.tool_call_id is None:
            raise _refused(f"{where}.tool_call_id", "it is required with the role tool")
        if message.role != "tool" and message.tool_call_id is not None:
            raise _refused(f"{where}.tool_call_id", "only with the role tool")
        if message.tool_calls is not None and message.role != "assistant":
            raise _refused(f"{where}.tool_calls", "only with the role assistant")
        if message.content is None and not message.tool_calls:
            raise _refused(f"{where}.content", "it is required")
        for number, call in enumerate(message.tool_calls or ()):
            _require_object(call.function.arguments, f"{where}.tool_calls.{number}.function.arguments")
    require_breaks((text for message in messages for text in message.texts()), "messages")


def _require_object(text: str, where: str) -> None:
    """The engine gives templates the arguments as an object; its parser's words must not be the answer."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(is_number_of_json(part) for part, _ in parts(value)):
        raise _refused(where, "expected a JSON object as text")


def _refused(param: str, what: str) -> ApiError:
    return ApiError(400, "invalid_parameter", f"{param}: {what}.", param=param)
