"""Chat requests: what the API takes, and what of it reaches the engine.

An allow-list: a parameter that is not named here is refused, so that nothing of the engine's own interface (slots,
grammars, logit biases, raw logits) can be reached through the gateway.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sealwright_appliance.serve.errors import ApiError

BODY_LIMIT = 1024 * 1024
"""Bytes of the longest request body."""
MESSAGES_LIMIT = 1024
"""Messages in one conversation."""
REFUSED = {
    "logit_bias": "logit_bias is off on a sealed box: it would help to copy the model.",
    "logprobs": "logprobs are off on a sealed box: they would help to copy the model.",
    "top_logprobs": "top_logprobs are off on a sealed box: they would help to copy the model.",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TextPart(_Part):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    def for_engine(self) -> dict[str, str]:
        """Plain text content under the roles that chat templates know."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(_Part):
    """Options of a streamed reply."""

    include_usage: bool = False


class ResponseFormat(_Part):
    """Shape of the reply: free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class ChatRequest(_Part):
    """``POST /v1/chat/completions``."""

    model: Annotated[str, Field(max_length=256)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES_LIMIT)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    presence_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] | None = None
    response_format: ResponseFormat | None = None
    user: Annotated[str, Field(max_length=256)] | None = None

    def for_engine(self) -> dict[str, Any]:
        """The request as the engine gets it: defaults left out, ``user`` kept back."""
        body = self.model_dump(exclude_none=True, exclude={"messages", "user", "max_completion_tokens"})
        body["messages"] = [message.for_engine() for message in self.messages]
        limit = self.max_completion_tokens or self.max_tokens
        if limit is not None:
            body["max_tokens"] = limit
        return body


def parse_chat_request(body: bytes) -> ChatRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, unknown or switched off.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _explain(error) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from None


def _explain(error: ValidationError) -> ApiError:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    for problem in problems:
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden" and name in REFUSED and len(problem["loc"]) == 1:
            return ApiError(400, "unsupported_parameter", REFUSED[name], param=name)
    first = problems[0]
    where = ".".join(str(part)[:64] for part in first["loc"])
    if first["type"] == "json_invalid":
        return ApiError(400, "invalid_json", "The body is not valid JSON.")
    if first["type"] == "extra_forbidden":
        return ApiError(400, "unknown_parameter", f"Unknown parameter: {where}.", param=where)
    return ApiError(400, "invalid_parameter", f"{where or 'body'}: {first['msg']}.", param=where or None)
