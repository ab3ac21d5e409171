"""An adapter's file: written here of a trainer's numbers, for the model that it was trained for or not at all."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from sealwright_appliance.adapters import weights
from sealwright_appliance.adapters.weights import LearnedAdapter, LearnedMatrix, adapter_file
from sealwright_policies.errors import FormatError
from sealwright_testing.adapters import learned, shapes_of

SHAPES = shapes_of()


def test_the_file_is_a_lora_as_llama_cpp_reads_it(tmp_path: Path) -> None:
    """By the reader of the GGUF project."""
    adapter, numbers = learned(SHAPES)
    path = tmp_path / "adapter.gguf"
    path.write_bytes(adapter_file(adapter, numbers, SHAPES))
    reader = gguf.GGUFReader(path)
    told = {name: reader.fields[name].contents() for name in reader.fields if not name.startswith("GGUF.")}
    assert told == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.alignment": 32,
        "adapter.type": "lora",
        "adapter.lora.alpha": 2.0,
    }
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    expected = np.frombuffer(numbers, "<f4")
    at = 0
    for matrix in adapter.matrices:
        inner, outer = SHAPES.layers[matrix.name.rpartition(".")[2]]
        for end, shape in (("a", (matrix.rank, inner)), ("b", (outer, matrix.rank))):
            part = expected[at : at + shape[0] * shape[1]].reshape(shape)
            assert np.array_equal(found[f"{matrix.name}.weight.lora_{end}"], part)
            at += part.size
    assert len(found) == 2 * len(adapter.matrices)


@pytest.mark.parametrize(
    "name",
    ["blk.0.attn_k", "blk.2.attn_q", "blk.00.attn_q", "blk.-1.attn_q", "blk.²", "blk..attn_q", "attn_q", "output",
     "blk.0.attn_q.weight", "token_embd", "blk.9999999.attn_q"],
)  # fmt: skip
def test_what_the_model_has_not_is_not_changed(name: str) -> None:
    adapter = LearnedAdapter(alpha=1.0, matrices=[LearnedMatrix(name=name, width_in=8, width_out=8, rank=1)])
    with pytest.raises(FormatError, match="has not"):
        adapter_file(adapter, bytes(4 * 16), SHAPES)


def test_numbers_are_counted_and_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, numbers = learned(SHAPES)
    for wrong in (numbers[:-4], numbers + bytes(4), b""):
        with pytest.raises(FormatError, match="another number"):
            adapter_file(adapter, wrong, SHAPES)
    for odd in (float("nan"), float("inf")):
        with pytest.raises(FormatError, match="finite"):
            adapter_file(adapter, struct.pack("<f", odd) + numbers[4:], SHAPES)
    monkeypatch.setattr(weights, "WEIGHTS_MOST", len(numbers) - 1)
    with pytest.raises(FormatError, match="at most"):
        adapter_file(adapter, numbers, SHAPES)


def test_a_matrix_twice_or_of_a_higher_rank_is_refused() -> None:
    one = LearnedMatrix(name="blk.0.attn_q", width_in=8, width_out=8, rank=1)
    with pytest.raises(FormatError, match="twice"):
        adapter_file(LearnedAdapter(alpha=1.0, matrices=[one, one]), bytes(4 * 32), SHAPES)
    high = LearnedMatrix(name="blk.0.attn_q", width_in=8, width_out=8, rank=9)
    with pytest.raises(FormatError, match="rank"):
        adapter_file(LearnedAdapter(alpha=1.0, matrices=[high]), bytes(4 * 9 * 16), SHAPES)


def test_an_adapter_for_a_model_of_other_sizes_is_refused() -> None:
    adapter, numbers = learned(shapes_of(width=16))
    with pytest.raises(FormatError, match="other sizes"):
        adapter_file(adapter, numbers, SHAPES)
