"""Chat requests: what the API takes, and what of it reaches the engine.

An allow-list: a parameter that is not named here is refused, so that nothing of the engine's own interface (slots,
grammars, logit biases, raw logits) can be reached through the gateway.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.refused_parameters import explain
from sealwright_policies.outflow import OutflowPolicy

BODY_LIMIT = 1024 * 1024
"""Bytes of the longest request body."""
MESSAGES_LIMIT = 1024
"""Messages in one conversation."""
LONGEST_RUN = 32_768
"""Characters of one message without a break. Engines cut a text there before they look for tokens, and the search in a
piece takes the square of its length: one of 760 000 letters kept llama-server busy past its own end."""
_PUNCTUATION = r"!-/:-@\[-`{-~\u2010-\u2027\u3001-\u3011\uff01-\uff0f\uff1a-\uff20"
_RUN = re.compile(rf"[^\s{_PUNCTUATION}]+|[{_PUNCTUATION}]+|\s+")
"""Of one kind: a word, punctuation marks, or white space."""
SAMPLING_STEPS = {"temperature": 10, "top_p": 20, "presence_penalty": 2, "frequency_penalty": 2}
"""Steps in one, to which what steers the sampling is rounded.

A penalty shifts the logits of tokens that were there before, and a greedy reply shows where the order turns round; a
fixed seed and ``top_p`` show where a token falls out. With numbers of any fineness both measure logits.
"""


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
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def turns(self) -> list[tuple[str, str]]:
        """Role and text of each message."""
        return [(one["role"], one["content"]) for one in (message.for_engine() for message in self.messages)]

    def require_permitted(self, policy: OutflowPolicy) -> None:
        """Refuse numbers that the model's policy keeps back.

        Raises:
            ApiError: 400 with the parameter; 403, the model does not answer.
        """
        most = policy.top_logprobs
        if not policy.completions:
            raise ApiError(403, "completions_off", "This model gives no answers through the API.", param="model")
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "invalid_parameter", "top_logprobs: only with logprobs.", param="top_logprobs")
        if self.logprobs and most is None:
            raise ApiError(
                400,
                "unsupported_parameter",
                "logprobs are off for a sealed model: they help to copy it.",
                param="logprobs",
            )
        if most is not None and (self.top_logprobs or 0) > most:
            message = f"top_logprobs: this model gives out at most {most}."
            raise ApiError(400, "unsupported_parameter", message, param="top_logprobs")

    def answer_tokens(self, policy: OutflowPolicy) -> int:
        """The longest reply, of one choice, in tokens."""
        return min(self.max_completion_tokens or self.max_tokens or policy.answer_tokens, policy.answer_tokens)

    def for_engine(self, answer_tokens: int) -> dict[str, Any]:
        """The request as the engine gets it: defaults left out, numbers rounded, ``user`` kept back.

        Args:
            answer_tokens: where each choice ends at the latest.
        """
        body = self.model_dump(exclude_none=True, exclude={"messages", "user", "max_completion_tokens"})
        body |= {name: round(body[name] * steps) / steps for name, steps in SAMPLING_STEPS.items() if name in body}
        if "top_p" in body:
            body["top_p"] = max(body["top_p"], 1 / SAMPLING_STEPS["top_p"])
        if not self.logprobs:
            body.pop("logprobs", None)
        return body | {"messages": [message.for_engine() for message in self.messages], "max_tokens": answer_tokens}


def parse_chat_request(body: bytes) -> ChatRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take; 400, a text without a break.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise explain(error) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from None
    if any(has_long_run(text) for _, text in request.turns()):
        raise ApiError(
            400, "text_unbroken",
            f"A message has over {LONGEST_RUN} characters without a space or a punctuation mark.", param="messages",
        )  # fmt: skip
    return request


def has_long_run(text: str, longest: int = LONGEST_RUN) -> bool:
    """Whether over ``longest`` characters of one kind follow each other; in time linear in the text.

    Such a run has a place that is a multiple of ``longest``, so only the runs at those places are measured.
    """
    backwards = text[::-1] if len(text) > longest else ""
    return any(
        _reach(text, place) + _reach(backwards, len(text) - 1 - place) - 1 > longest
        for place in range(0, len(backwards), longest)
    )


def _reach(text: str, place: int) -> int:
    """Characters of the run from a place on, to its right."""
    found = _RUN.match(text, place)
    return found.end() - place if found else 0
