"""How much memory an engine is thought to take: what the header gives, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from sealwright_image.engine_memory import BATCH, HALF, MIB, PROGRAM_MIB, SLOTS, engine_need
from sealwright_image.gguf import Gguf, read_gguf
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf

SHAPE = RandomShape(width=64, feed_forward=128, layers=3, heads=4, kv_heads=2, vocabulary=300, context=4096)


def model(size: int = MIB, largest: int = 0, **numbers: int) -> Gguf:
    return Gguf(3, 1, "llama", "m", size, largest, numbers)


def test_the_header_says_of_which_sizes_a_model_is_made(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_random_gguf(path, SHAPE)
    numbers = read_gguf(path).numbers
    wanted = {"block_count": 3, "embedding_length": 64, "attention.head_count_kv": 2, "context_length": 4096}
    assert wanted.items() <= numbers.items()
    assert numbers["tokenizer.ggml.tokens"] == SHAPE.vocabulary


def test_keys_and_values_of_every_slot_are_counted() -> None:
    """Llama 3.1 8B: 128 KiB for each token of each, in half precision."""
    sizes = {"context_length": 131_072, "block_count": 32, "embedding_length": 4096}
    heads = {"attention.head_count": 32, "attention.head_count_kv": 8}
    need = engine_need(model(**sizes, **heads), embeddings=False)
    assert need.context == 131_072
    assert need.token_bytes == SLOTS * 128 * 1024 + BATCH * HALF


def test_heads_of_a_width_of_their_own_are_counted_by_it() -> None:
    sizes = {"block_count": 1, "embedding_length": 64, "attention.head_count": 4}
    own = {"attention.key_length": 32, "attention.value_length": 64}
    more, less = (engine_need(model(**sizes, **one), embeddings=False).token_bytes for one in (own, {}))
    assert more - less == SLOTS * 4 * (32 + 64 - 2 * 16) * HALF


def test_a_model_that_says_nothing_takes_its_weights_and_the_program() -> None:
    for numbers in ({}, {"block_count": -5}):
        need = engine_need(model(10 * MIB, **numbers), embeddings=False)
        assert (need.memory_mib, need.context) == (10 + PROGRAM_MIB, 0)


def test_a_large_tensor_is_in_memory_twice_while_it_is_read(tmp_path: Path) -> None:
    assert engine_need(model(10 * MIB, largest=4 * MIB), embeddings=False).memory_mib == 14 + PROGRAM_MIB
    path = tmp_path / "model.gguf"
    write_random_gguf(path, SHAPE)
    assert read_gguf(path).largest >= SHAPE.vocabulary * SHAPE.width * 18 // 32


def test_embeddings_take_a_larger_batch() -> None:
    wide = model(embedding_length=4096, feed_forward_length=16_384)
    with_them, without = (engine_need(wide, embeddings=one) for one in (True, False))
    assert with_them.memory_mib > without.memory_mib
    assert with_them.token_bytes > without.token_bytes
