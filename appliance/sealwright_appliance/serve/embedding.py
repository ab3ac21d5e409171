"""Embeddings: texts as lists of numbers, only where the model's policy lets hidden states out, and rounded."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from sealwright_appliance.serve.embedded import Embedded, charge, packed
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.request_parts import Ignored, ModelName, parse_request
from sealwright_appliance.serve.unbroken import require_breaks
from sealwright_policies.outflow import OutflowPolicy

INPUTS_MOST = 256
DIGITS = 4
"""Behind the point, of vectors of length 1: the cosine of two is then right to about a thousandth."""
Text = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(Ignored):
    """``POST /v1/embeddings``."""

    model: ModelName
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=INPUTS_MOST)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None

    @property
    def texts(self) -> list[str]:
        """Each of which gets a vector."""
        return [self.input] if isinstance(self.input, str) else self.input

    def conversations(self) -> list[list[tuple[str, str]]]:
        """Each text as a conversation of one turn."""
        return [[("user", text)] for text in self.texts]

    def require_permitted(self, policy: OutflowPolicy) -> None:
        """Refuse hidden states that the model's policy keeps back.

        Raises:
            ApiError: 403.
        """
        if not policy.embeddings:
            raise ApiError(403, "embeddings_off", "This model gives no embeddings through the API.", param="model")

    def for_engine(self, abilities: Abilities) -> dict[str, Any]:
        """The request as the engine gets it, with what each vector is charged as ``max_tokens``."""
        return {"input": self.texts, "max_tokens": charge(abilities.width)}

    def document(self, embedded: Embedded) -> bytes:
        """The reply: rounded numbers, in the encoding that was asked for."""
        made = [[round(number, DIGITS) for number in vector] for vector in embedded.vectors]
        shown: list[Any] = [packed(vector) for vector in made] if self.encoding_format == "base64" else made
        usage = {"prompt_tokens": embedded.prompt_tokens, "total_tokens": embedded.prompt_tokens}
        data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(shown)]
        return json.dumps({"object": "list", "data": data, "model": self.model, "usage": usage}).encode()


def parse_embedding_request(body: bytes) -> EmbeddingRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    request = parse_request(EmbeddingRequest, body)
    if request.dimensions is not None:
        message = "dimensions: a model gives the vectors that it has; cut them yourself."
        raise ApiError(400, "unsupported_parameter", message, param="dimensions")
    require_breaks(request.texts, "input")
    return request
