"""Random-weight models for measuring speed."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from sealwright_testing.models.random_gguf import (
    SHAPES,
    RandomShape,
    matrices,
    norms,
    parameter_count,
    write_random_gguf,
)

_TINY = RandomShape(width=64, feed_forward=96, layers=2, heads=4, kv_heads=2, vocabulary=320)


@pytest.mark.parametrize(("name", "millions"), [("201m", 201), ("1.1b", 1100)])
def test_shapes_have_the_size_of_their_name(name: str, millions: int) -> None:
    """Within two parts in a hundred."""
    assert parameter_count(SHAPES[name]) / 1e6 == pytest.approx(millions, rel=0.02)


def test_file_is_complete_and_repeatable(tmp_path: Path) -> None:
    """All tensors in Q4_0 or F32, the same bytes for the same seed, others for another, no partial file left."""
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    write_random_gguf(first, _TINY)
    write_random_gguf(second, _TINY)
    write_random_gguf(other, _TINY, seed=1)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "other"}
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(first).tensors}
    assert set(tensors) == {matrix.name for matrix in matrices(_TINY)} | set(norms(_TINY))
    assert sum(int(tensor.n_elements) for tensor in tensors.values()) == parameter_count(_TINY)
    assert tensors["output.weight"].tensor_type == gguf.GGMLQuantizationType.Q4_0
