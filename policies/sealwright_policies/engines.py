"""What the engine of each model needs of a box (policies/spec/engines.md).

``sealwright-image build`` puts the document at :data:`ENGINES_FILE` in the root, where it is measured with everything
else. Sizes are MiB.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sealwright_policies.wire.encoding import Document, Identifier, parse_json

ENGINES_FILE = "/usr/share/sealwright/engines.json"
VECTOR_EXTENSION = "/usr/lib/sealwright/lib/vec0.so"
"""sqlite-vec, by which vectors of documents are compared; in images that name a model for them."""
ENGINES_LIMIT = 64 * 1024
"""Bytes of the longest document."""
MODELS_MOST = 64
NEED_MOST = 2**32
"""MiB: more than any machine has."""
CONTEXT_MOST = 2**31
TOKEN_MOST = 2**32
BLOCKS_MOST = 1024
LAYERS_MOST = 32
"""Kinds of matrices in a block."""
LayerName = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]
Width = Annotated[int, Field(ge=1, le=2**20)]
PREFIX_MOST = 256


class EngineNeed(Document):
    """Of one model; without what is kept of past prompts."""

    memory_mib: Annotated[int, Field(ge=1, le=NEED_MOST)]
    """Weights and working memory."""
    context: Annotated[int, Field(ge=0, le=CONTEXT_MOST)]
    """Tokens of the longest request with its reply that the model was made for; 0: it has no such bound."""
    token_bytes: Annotated[int, Field(ge=0, le=TOKEN_MOST)]
    """Memory for each token of that length, all requests at once."""


class LayerShapes(Document):
    """The matrices of a model that an adapter may change; of models to which one may be trained in the box."""

    architecture: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_-]+$")]
    blocks: Annotated[int, Field(ge=1, le=BLOCKS_MOST)]
    layers: Annotated[dict[LayerName, tuple[Width, Width]], Field(min_length=1, max_length=LAYERS_MOST)]
    """Width in and out, by name within a block: ``attn_q``."""


class DocumentVectors(Document):
    """The model by which passages of the customer's documents are found (policies/spec/own-documents.md, 7)."""

    model: Identifier
    """Payload id."""
    passage_prefix: Annotated[str, Field(max_length=PREFIX_MOST)] = ""
    question_prefix: Annotated[str, Field(max_length=PREFIX_MOST)] = ""
    """What the model was trained to see before a text of either kind."""


class ReleaseEngines(Document):
    """``engines.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    models: Annotated[dict[Identifier, EngineNeed], Field(max_length=MODELS_MOST)]
    """By payload id."""
    layers: Annotated[dict[Identifier, LayerShapes], Field(max_length=MODELS_MOST)] = Field(default_factory=dict)
    """By payload id of the model."""
    documents: DocumentVectors | None = None
    """None: documents are found by words alone."""


NOTHING_KNOWN = ReleaseEngines(version=1, models={})


def parse_engines(content: bytes) -> ReleaseEngines:
    """Parse ``engines.json``.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(ReleaseEngines, content, limit=ENGINES_LIMIT)
