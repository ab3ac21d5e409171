"""What requests of all kinds are made of: strict parts, sampling, and the parameters that are taken and ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.refused_parameters import explain
from sealwright_policies.outflow import OutflowPolicy

BODY_LIMIT = 1024 * 1024
"""Bytes of the longest request body."""
CHOICES_MOST = 8
SAMPLING_STEPS = {"temperature": 10, "top_p": 20, "presence_penalty": 2, "frequency_penalty": 2}
"""Steps in one, to which what steers the sampling is rounded.

A penalty shifts the logits of tokens that were there before, and a greedy reply shows where the order turns round; a
fixed seed and ``top_p`` show where a token falls out. With numbers of any fineness both measure logits.
"""
ModelName = Annotated[str, Field(max_length=256)]
TokenCount = Annotated[int, Field(ge=1, le=1_000_000)]
ShortText = Annotated[str, Field(max_length=256)]


class Part(BaseModel):
    """A piece of a request; a member that it does not name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StreamOptions(Part):
    """Options of a streamed reply."""

    include_usage: bool = False


class Ignored(Part):
    """What programs send along and what changes nothing here; none of it reaches the model."""

    user: ShortText | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    metadata: Annotated[dict[ShortText, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: Literal[False] | None = None


class Sampling(Ignored):
    """Parameters of chats and texts alike."""

    model: ModelName
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] | None = None
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    max_tokens: TokenCount | None = None
    n: Annotated[int, Field(ge=1, le=CHOICES_MOST)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    stop: ShortText | Annotated[list[ShortText], Field(max_length=4)] | None = None
    presence_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] | None = None

    def sampling(self) -> dict[str, Any]:
        """What of it the engine gets: defaults left out, numbers rounded."""
        body = self.model_dump(exclude_none=True, include=set(Sampling.model_fields) - set(Ignored.model_fields))
        body |= {name: round(body[name] * steps) / steps for name, steps in SAMPLING_STEPS.items() if name in body}
        if "top_p" in body:
            body["top_p"] = max(body["top_p"], 1 / SAMPLING_STEPS["top_p"])
        return body


def require_answers(policy: OutflowPolicy) -> None:
    """Refuse to ask a model that gives no answers.

    Raises:
        ApiError: 403.
    """
    if not policy.completions:
        raise ApiError(403, "completions_off", "This model gives no answers through the API.", param="model")


def require_numbers(policy: OutflowPolicy, top: int, param: str) -> None:
    """Refuse log probabilities that the model's policy keeps back.

    Args:
        top: alternatives to each token.
        param: what asks for how many.

    Raises:
        ApiError: 400 with the parameter.
    """
    most = policy.top_logprobs
    if most is None:
        message = "logprobs are off for a sealed model: they help to copy it."
        raise ApiError(400, "unsupported_parameter", message, param="logprobs")
    if top > most:
        raise ApiError(400, "unsupported_parameter", f"{param}: this model gives out at most {most}.", param=param)


Request = TypeVar("Request", bound=Part)


def parse_request(kind: type[Request], body: bytes) -> Request:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise explain(error, field_names(kind)) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from None


def field_names(kind: type[BaseModel]) -> frozenset[str]:
    """Names of all members of a request, at any depth."""
    fields = kind.model_fields
    inner = {model for field in fields.values() for model in _models_in(field.annotation)}
    own = frozenset(field.alias or name for name, field in fields.items())
    return own.union(*(field_names(model) for model in inner))


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in get_args(annotation) for model in _models_in(part)}
