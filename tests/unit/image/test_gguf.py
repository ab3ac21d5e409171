"""The look at a model file: it accepts GGUF 2 and 3, and tells why it refuses anything else."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_image.gguf import read_gguf
from sealwright_policies.errors import FormatError
from sealwright_testing.image_inputs import gguf_file, gguf_header, gguf_tensor, gguf_text


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_it_reads_what_the_file_calls_itself(tmp_path: Path, version: int) -> None:
    content = bytearray(gguf_file())
    content[4:8] = struct.pack("<I", version)
    model = read_gguf(write(tmp_path, bytes(content)))
    assert (model.version, model.tensor_count, model.architecture, model.name) == (version, 1, "llama", "tiny")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a GGUF file"),
        (b"<html>404", "not a GGUF file"),
        (gguf_header(version=1), "GGUF version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "GGUF version 50331648"),
        (gguf_header(tensors=0), "no tensors"),
        (gguf_header(tensors=2**60), "tensors, at most"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60), "metadata pairs, at most"),
        (gguf_header(), "cut short"),
        (gguf_header(pairs=[gguf_text("k") + struct.pack("<I", 99)]), "no value type 99"),
        (gguf_header(pairs=[gguf_text("k") + struct.pack("<IIQ", 9, 4, 2**50)]), "array elements, at most"),
        (gguf_header(pairs=[gguf_text("k") + struct.pack("<IIQ", 9, 10, 2**27)]), "longer than"),
        (gguf_header(pairs=[gguf_text("k") + struct.pack("<IQ", 8, 2**40)]), "bytes of text, at most"),
        (gguf_header() + gguf_text("t") + struct.pack("<I", 9), "9 dimensions"),
        (
            gguf_header(pairs=[gguf_text("general.alignment") + struct.pack("<II", 4, 0)]) + gguf_tensor("t", 1, 0),
            "alignment 0",
        ),
    ],
)
def test_it_tells_what_is_wrong(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        read_gguf(write(tmp_path, content))


def test_a_download_that_broke_off_is_recognised(tmp_path: Path) -> None:
    head = gguf_header(tensors=2) + gguf_tensor("a", 1000, 0) + gguf_tensor("b", 1000, 4000)
    whole = head + bytes(-len(head) % 32) + bytes(8000)
    read_gguf(write(tmp_path, whole))
    with pytest.raises(FormatError, match="its last tensor begins at byte"):
        read_gguf(write(tmp_path, whole[:-4100]))


@given(place=st.integers(0, len(gguf_file()) - 1), value=st.integers(0, 255), length=st.integers(0, len(gguf_file())))
def test_no_bytes_make_it_fail_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, length: int
) -> None:
    content = bytearray(gguf_file())
    content[place] = value
    with contextlib.suppress(FormatError):
        read_gguf(write(tmp_path_factory.mktemp("gguf"), bytes(content[:length])))
