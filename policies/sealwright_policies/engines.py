"""What the engine of each model needs of a box (policies/spec/engines.md).

``sealwright-image build`` puts the document at :data:`ENGINES_FILE` in the root, where it is measured with everything
else. Sizes are MiB.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sealwright_policies.wire.encoding import Document, Identifier, parse_json

ENGINES_FILE = "/usr/share/sealwright/engines.json"
ENGINES_LIMIT = 64 * 1024
"""Bytes of the longest document."""
MODELS_MOST = 64
NEED_MOST = 2**32
"""MiB: more than any machine has."""
CONTEXT_MOST = 2**31
TOKEN_MOST = 2**32


class EngineNeed(Document):
    """Of one model; without what is kept of past prompts."""

    memory_mib: Annotated[int, Field(ge=1, le=NEED_MOST)]
    """Weights and working memory."""
    context: Annotated[int, Field(ge=0, le=CONTEXT_MOST)]
    """Tokens of the longest request with its reply that the model was made for; 0: it has no such bound."""
    token_bytes: Annotated[int, Field(ge=0, le=TOKEN_MOST)]
    """Memory for each token of that length, all requests at once."""


class ReleaseEngines(Document):
    """``engines.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    models: Annotated[dict[Identifier, EngineNeed], Field(max_length=MODELS_MOST)]
    """By payload id."""


NOTHING_KNOWN = ReleaseEngines(version=1, models={})


def parse_engines(content: bytes) -> ReleaseEngines:
    """Parse ``engines.json``.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(ReleaseEngines, content, limit=ENGINES_LIMIT)
