"""Text completions, OpenAI's older API: a beginning without turns, which the model goes on with.

An allow-list like that of :mod:`.chat`, and the same rules.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.request_parts import (
    CHOICES_MOST,
    Sampling,
    parse_request,
    require_answers,
    require_numbers,
)
from sealwright_appliance.serve.unbroken import require_breaks
from sealwright_policies.outflow import OutflowPolicy

TOKENS = 16
"""OpenAI's length of a reply for which nothing is said."""
Prompt = Annotated[str, Field(min_length=1)]


class TextRequest(Sampling):
    """``POST /v1/completions``."""

    prompt: Prompt | Annotated[list[Prompt], Field(min_length=1, max_length=CHOICES_MOST)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None

    @property
    def prompts(self) -> list[str]:
        """Each of which is gone on with."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def conversations(self) -> list[list[tuple[str, str]]]:
        """Each prompt as a conversation of one turn."""
        return [[("user", prompt)] for prompt in self.prompts]

    def require_permitted(self, policy: OutflowPolicy) -> None:
        """Refuse numbers that the model's policy keeps back.

        Raises:
            ApiError: 400 with the parameter; 403, the model does not answer.
        """
        require_answers(policy)
        if self.logprobs is not None:
            require_numbers(policy, self.logprobs, "logprobs")

    def answer_tokens(self, policy: OutflowPolicy) -> int:
        """The longest reply, of one choice, in tokens."""
        return min(self.max_tokens or TOKENS, policy.answer_tokens)

    def for_engine(self, answer_tokens: int) -> dict[str, Any]:
        """The request as the engine gets it.

        Args:
            answer_tokens: where each choice ends at the latest.
        """
        numbers = {} if self.logprobs is None else {"logprobs": self.logprobs}
        return self.sampling() | numbers | {"prompt": self.prompts, "max_tokens": answer_tokens}


def parse_text_request(body: bytes) -> TextRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    request = parse_request(TextRequest, body)
    if request.echo:
        raise _refused("echo", "with it a given text is measured, which helps to copy the model")
    if request.suffix is not None:
        raise _refused("suffix", "the models of this box go on with a text and fill no gaps")
    if request.best_of not in (None, request.n or 1):
        raise _refused("best_of", "only as many as n")
    if len(request.prompts) > 1 and (request.n or 1) > 1:
        raise ApiError(400, "invalid_parameter", "n: 1 with several prompts.", param="n")
    require_breaks(request.prompts, "prompt")
    return request


def _refused(name: str, why: str) -> ApiError:
    return ApiError(400, "unsupported_parameter", f"{name} is off on a sealed box: {why}.", param=name)
