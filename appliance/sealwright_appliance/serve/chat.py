"""Chat requests: what the API takes, and what of it reaches the engine.

An allow-list: a parameter that is not named here is refused, so that nothing of the engine's own interface (slots,
grammars, logit biases, raw logits) can be reached through the gateway.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sealwright_appliance.serve import tools as tool_rules
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import SchemaBudget, texts_shown
from sealwright_appliance.serve.messages import MESSAGES_LIMIT, Message, require_consistent
from sealwright_appliance.serve.request_parts import (
    Part,
    Sampling,
    ShortText,
    TokenCount,
    parse_request,
    require_answers,
    require_numbers,
)
from sealwright_appliance.serve.tools import ToolChoice, Tools, require_usable
from sealwright_appliance.serve.unbroken import require_breaks
from sealwright_policies.outflow import OutflowPolicy


class JsonSchema(Part):
    """A named schema that the reply follows."""

    name: ShortText | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None
    """Taken and of no effect: a reply always follows its schema."""


class ResponseFormat(Part):
    """Shape of the reply: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def require_bounded(self, budget: SchemaBudget) -> None:
        """Refuse a schema that is too large, and texts without a break: some templates show it.

        Args:
            budget: of all schemas of the request.

        Raises:
            ApiError: 400.
        """
        if (self.type == "json_schema") != (self.json_schema is not None):
            message = "response_format.json_schema: with the type json_schema, and only then."
            raise ApiError(400, "invalid_parameter", message, param="response_format.json_schema")
        if self.json_schema is not None and self.json_schema.schema_ is not None:
            budget.spend(self.json_schema.schema_, "response_format.json_schema.schema")
            require_breaks(texts_shown(self.json_schema.schema_), "response_format")

    def for_engine(self) -> dict[str, Any]:
        """As the engine reads it."""
        schema = {} if self.json_schema is None else {"json_schema": {"schema": self.json_schema.schema_ or {}}}
        return {"type": self.type} | schema


class ChatRequest(Sampling):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES_LIMIT)]
    max_completion_tokens: TokenCount | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    def turns(self) -> list[tuple[str, str]]:
        """Role and text of everything that the model reads."""
        return tool_rules.turn(self.tools or ()) + [message.turn() for message in self.messages]

    def require_permitted(self, policy: OutflowPolicy) -> None:
        """Refuse numbers that the model's policy keeps back.

        Raises:
            ApiError: 400 with the parameter; 403, the model does not answer.
        """
        require_answers(policy)
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "invalid_parameter", "top_logprobs: only with logprobs.", param="top_logprobs")
        if self.logprobs:
            require_numbers(policy, self.top_logprobs or 0, "top_logprobs")

    @property
    def needs_tools(self) -> bool:
        """Whether it matters what the template can."""
        return bool(self.tools) or any(message.uses_tools for message in self.messages)

    def answer_tokens(self, policy: OutflowPolicy) -> int:
        """The longest reply, of one choice, in tokens."""
        return min(self.max_completion_tokens or self.max_tokens or policy.answer_tokens, policy.answer_tokens)

    def for_engine(self, answer_tokens: int) -> dict[str, Any]:
        """The request as the engine gets it: defaults left out, numbers rounded, what is ignored kept back.

        Args:
            answer_tokens: where each choice ends at the latest.
        """
        body = self.sampling()
        if self.logprobs:
            body |= {"logprobs": True}
            body |= {} if self.top_logprobs is None else {"top_logprobs": self.top_logprobs}
        if self.response_format is not None:
            body["response_format"] = self.response_format.for_engine()
        body |= tool_rules.for_engine(self.tools or (), self.tool_choice, parallel=self.parallel_tool_calls)
        return body | {"messages": [message.for_engine() for message in self.messages], "max_tokens": answer_tokens}

    def for_count(self) -> dict[str, Any]:
        """What the engine needs to count its tokens."""
        turns = {"messages": [message.for_engine() for message in self.messages]}
        return turns | tool_rules.for_engine(self.tools or (), self.tool_choice, parallel=self.parallel_tool_calls)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take; 400, a text without a break.
    """
    request = parse_request(ChatRequest, body)
    require_sound(request)
    return request


def require_sound(request: ChatRequest) -> None:
    """Refuse what is well-formed and cannot be meant, or has no bounds.

    Raises:
        ApiError: 400.
    """
    require_consistent(request.messages)
    budget = SchemaBudget()
    require_usable(request.tools or (), request.tool_choice, budget)
    if request.response_format is not None:
        request.response_format.require_bounded(budget)
    if request.logprobs and request.tools:
        raise ApiError(400, "unsupported_parameter", "logprobs: not together with tools.", param="logprobs")
