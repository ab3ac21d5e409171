"""How much memory an engine takes with a model, from the model's header: what ``engines.json`` says of it.

Estimated from above: an engine that takes more than was thought can have the kernel end another one. The parts are
those that llama-server allocates with the flags of sealwright-engine@.service (llama.cpp, src/llama-kv-cache.cpp and
src/llama-graph.cpp): weights in memory of its own (no mmap), a cache of keys and values for the whole context of each
slot in half precision, buffers for one batch. A sliding window or a latent cache takes less than is counted here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError

from sealwright_image.gguf import TOKENS, Gguf
from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.compiler.outflow import outflow
from sealwright_policies.domains.compiler.workloads import workloads
from sealwright_policies.engines import (
    CONTEXT_MOST,
    TOKEN_MOST,
    DocumentVectors,
    EngineNeed,
    LayerShapes,
    ReleaseEngines,
)
from sealwright_policies.errors import FormatError

MIB = 1024 * 1024
HALF, SINGLE = 2, 4
"""Bytes of a number."""
SLOTS = 4
"""Requests at once (:data:`sealwright_appliance.engines.PARALLEL_REQUESTS`)."""
BATCH = 512
"""Tokens that are computed at once (--ubatch-size)."""
EMBEDDING_BATCH = 2048
"""The same for a model that gives embeddings (:data:`sealwright_appliance.engines.EMBEDDED_TOKENS`)."""
ROWS, FEED_FORWARD_ROWS = 8, 3
"""Rows of a layer's width, and of its feed-forward part's, that a batch holds. Measured: 4 and 3 of a llama."""
VOCABULARY_BYTES = 512
"""Of an entry of the vocabulary: its text, its places in the tokenizer's tables, logits and candidates of the slots."""
_BLOCK_MATRIX = re.compile(r"blk\.(\d+)\.([a-z0-9_]+)\.weight")
PROGRAM_MIB = 64
"""Program, threads' stacks, requests; what the allocator holds back."""


def engines_document(
    models: Mapping[str, Gguf], domains: Domains, documents: DocumentVectors | None = None
) -> ReleaseEngines:
    """The document of a release.

    Args:
        models: by payload id.
        domains: which say whether a model gives embeddings.
        documents: by which of them the customer's documents are searched.
    """
    answers = outflow(domains)
    needs = {name: engine_need(model, embeddings=answers.of(name).embeddings) for name, model in models.items()}
    bases = sorted(
        {plan.base for plan in workloads(domains).adapters.values() if plan.trainer is not None} & set(models)
    )
    return ReleaseEngines(
        version=1,
        models=dict(sorted(needs.items())),
        layers={name: layer_shapes(name, models[name]) for name in bases},
        documents=documents,
    )


def layer_shapes(name: str, model: Gguf) -> LayerShapes:
    """What an adapter of a model may change: matrices that every block has, of one size in all of them.

    Raises:
        FormatError: there is none.
    """
    blocks = _number(model, "block_count")
    of_block: dict[str, dict[str, tuple[int, int]]] = {}
    for tensor, sizes in model.matrices.items():
        if found := _BLOCK_MATRIX.fullmatch(tensor):
            of_block.setdefault(found[2], {})[found[1]] = sizes
    layers = {
        layer: next(iter(sizes.values()))
        for layer, sizes in sorted(of_block.items())
        if len(sizes) == blocks and len(set(sizes.values())) == 1
    }
    try:
        return LayerShapes(architecture=model.architecture, blocks=blocks, layers=layers)
    except ValidationError:
        raise FormatError(f"Model {name} has no matrices that an adapter could change.") from None


def engine_need(model: Gguf, *, embeddings: bool) -> EngineNeed:
    """What a model's engine needs."""
    batch = EMBEDDING_BATCH if embeddings else BATCH
    # A tensor is read into a buffer before it gets its place; what a batch needs is allocated later.
    work = max(model.largest, batch * _row_bytes(model))
    mask = batch * HALF
    return EngineNeed(
        memory_mib=-(-(model.size + work + _number(model, TOKENS) * VOCABULARY_BYTES) // MIB) + PROGRAM_MIB,
        context=min(CONTEXT_MOST, _number(model, "context_length")),
        token_bytes=min(TOKEN_MOST, SLOTS * _kept_bytes(model) + mask),
    )


def _kept_bytes(model: Gguf) -> int:
    """Keys and values of one token, all layers."""
    heads = _number(model, "attention.head_count")
    of_head = _number(model, "embedding_length") // max(1, heads)
    key, value = (_number(model, f"attention.{one}_length", of_head) for one in ("key", "value"))
    return _number(model, "block_count") * _number(model, "attention.head_count_kv", heads) * (key + value) * HALF


def _row_bytes(model: Gguf) -> int:
    """What one token of a batch needs while it is computed."""
    rows = ROWS * _number(model, "embedding_length") + FEED_FORWARD_ROWS * _number(model, "feed_forward_length")
    return rows * SINGLE


def _number(model: Gguf, key: str, default: int = 0) -> int:
    return max(0, model.numbers.get(key, default))
