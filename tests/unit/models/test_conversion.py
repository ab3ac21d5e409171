"""Checkpoint to GGUF: the rotary reordering and what stands in the file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from sealwright_testing.models.bpe import Tokenizer
from sealwright_testing.models.checkpoint import CHAT_TEMPLATE, SPECIALS, Answered, Checkpoint
from sealwright_testing.models.conversion import interleave_rotary_rows, tensor_name, write_gguf

_HEADS, _KV_HEADS, _HEAD_SIZE, _WIDTH = 4, 2, 6, 12


def _angles(position: int) -> NDArray[np.float64]:
    return position * 100.0 ** (-np.arange(0, _HEAD_SIZE, 2) / _HEAD_SIZE)


def _turn_halves(head: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    """Rotary positions as the checkpoint means them: (i, i + half) turn together."""
    first, second = np.split(head, 2)
    cosine, sine = np.cos(_angles(position)), np.sin(_angles(position))
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine])


def _turn_neighbours(head: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    """Rotary positions as llama.cpp's architecture ``llama`` means them: (2i, 2i + 1) turn together."""
    cosine, sine = np.cos(_angles(position)), np.sin(_angles(position))
    turned = np.empty_like(head)
    turned[0::2] = head[0::2] * cosine - head[1::2] * sine
    turned[1::2] = head[1::2] * cosine + head[0::2] * sine
    return turned


def test_reordered_rows_give_the_same_attention_scores() -> None:
    """Half-turning the trained rows and neighbour-turning the reordered ones give equal dot products of q and k."""
    rng = np.random.default_rng(1)
    query = rng.normal(size=(_HEADS * _HEAD_SIZE, _WIDTH))
    key = rng.normal(size=(_HEADS * _HEAD_SIZE, _WIDTH))
    moved_query, moved_key = (interleave_rotary_rows(weight, _HEADS) for weight in (query, key))
    assert not np.array_equal(moved_query, query)
    hidden = rng.normal(size=_WIDTH)
    for head in range(_HEADS):
        rows = slice(head * _HEAD_SIZE, (head + 1) * _HEAD_SIZE)
        trained = _turn_halves(query[rows] @ hidden, 7) @ _turn_halves(key[rows] @ hidden, 3)
        converted = _turn_neighbours(moved_query[rows] @ hidden, 7) @ _turn_neighbours(moved_key[rows] @ hidden, 3)
        assert converted == pytest.approx(trained)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("model.layers.11.self_attn.q_proj.weight", "blk.11.attn_q.weight"),
        ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
    ],
)
def test_tensor_names(name: str, expected: str) -> None:
    """Hugging Face names to GGUF names."""
    assert tensor_name(name) == expected


@pytest.fixture
def checkpoint() -> Checkpoint:
    rng = np.random.default_rng(2)
    tokenizer = Tokenizer(SPECIALS, [("t", "h"), ("th", "e")])
    sizes = {
        "model.embed_tokens.weight": (len(tokenizer.tokens), _WIDTH),
        "model.layers.0.input_layernorm.weight": (_WIDTH,),
        "model.layers.0.self_attn.q_proj.weight": (_HEADS * _HEAD_SIZE, _WIDTH),
        "model.layers.0.self_attn.k_proj.weight": (_KV_HEADS * _HEAD_SIZE, _WIDTH),
    }
    return Checkpoint(
        name="tiny",
        title="Tiny",
        shape={
            "vocabulary": len(tokenizer.tokens),
            "width": _WIDTH,
            "feed_forward": 24,
            "layers": 1,
            "head_count": _HEADS,
            "kv_head_count": _KV_HEADS,
            "head_size": _HEAD_SIZE,
            "rope_base": 10_000.0,
            "norm_epsilon": 1e-5,
            "context": 64,
        },
        tokenizer=tokenizer,
        weights={name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()},
        accuracy={"trained": 1.0},
        answered=[Answered([1, 2], [3])],
        training={"steps": 1},
    )


def test_checkpoint_survives_saving(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """What the training root writes is what .venv reads."""
    checkpoint.save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    assert loaded.tokenizer.tokens == checkpoint.tokenizer.tokens
    assert loaded.answered == checkpoint.answered
    assert (loaded.name, loaded.shape, loaded.accuracy) == (checkpoint.name, checkpoint.shape, checkpoint.accuracy)
    assert all(np.array_equal(loaded.weights[name], weight) for name, weight in checkpoint.weights.items())


def test_file_holds_tensors_tokenizer_and_template(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Matrices in 16 bits, vectors in 32, q reordered by query heads and k by key heads."""
    path = tmp_path / "tiny.gguf"
    write_gguf(checkpoint, path)
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert {tensor_name(name) for name in checkpoint.weights} == set(tensors)
    assert tensors["blk.0.attn_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    for part, heads in (("q", _HEADS), ("k", _KV_HEADS)):
        tensor = tensors[f"blk.0.attn_{part}.weight"]
        wanted = interleave_rotary_rows(checkpoint.weights[f"model.layers.0.self_attn.{part}_proj.weight"], heads)
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F16
        assert np.array_equal(tensor.data, wanted.astype(np.float16))
    fields = reader.fields
    assert fields["general.architecture"].contents() == "llama"
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert fields["tokenizer.ggml.tokens"].contents() == list(checkpoint.tokenizer.tokens)
    assert fields["tokenizer.ggml.merges"].contents() == ["t h", "th e"]
    assert fields["tokenizer.chat_template"].contents() == CHAT_TEMPLATE
