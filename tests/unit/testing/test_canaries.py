"""The search of the red team suite finds a canary however it is written."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import gguf
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealwright_testing.redteam.canaries import WINDOW, forms, found_in, key_forms, weight_windows
from sealwright_testing.redteam.marked_models import KEY, mark_of, marked
from sealwright_testing.vendor import Model

CANARY = "canary-5ea1-of-a-patient"
WRITTEN = {
    "plain": f"a {CANARY} b".encode(),
    "hex": b"00" + CANARY.encode().hex().encode(),
    "utf-16": f"a{CANARY}".encode("utf-16-le"),
    "url": quote(f"/{CANARY}/").encode(),
    **{f"base64 {n}": base64.b64encode(b"x" * n + CANARY.encode() + b"yz") for n in range(6)},
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_a_canary_is_found(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"\0" * 5000 + content)
    assert found_in(tmp_path, {"it": forms(CANARY.encode())}) == {"it"}


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CANARY[:-1].encode() * 100)
    (tmp_path / "empty").touch()
    assert found_in(tmp_path, {"it": forms(CANARY.encode())}) == set()


def test_windows_of_a_model_are_pieces_of_it_and_no_padding(tmp_path: Path) -> None:
    content = bytes(range(256)) * 200 + bytes(100_000)
    (tmp_path / "model.gguf").write_bytes(content)
    windows = weight_windows(tmp_path / "model.gguf")
    assert windows
    assert all(window in content and len(window) == WINDOW and any(window) for window in windows.values())


def test_a_key_is_found_by_its_number_and_by_its_file(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    formats = (Encoding.PEM, PrivateFormat.PKCS8), (Encoding.DER, PrivateFormat.PKCS8)
    pem, der = (key.private_bytes(*one, NoEncryption()) for one in formats)
    stranger = ec.generate_private_key(ec.SECP256R1()).private_bytes(*formats[0], NoEncryption())
    wanted = {"key": key_forms(pem.decode())}
    for content, found in ((pem, {"key"}), (der, {"key"}), (der.hex().encode(), {"key"}), (stranger, set())):
        (tmp_path / "file").write_bytes(content)
        assert found_in(tmp_path, wanted) == found


def test_a_marked_model_has_its_mark_and_is_the_same_otherwise(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_name("one")
    tensors = {"first": np.arange(7, dtype=np.float32), "second": np.arange(9, dtype=np.float32)}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tmp_path / "marked").mkdir()
    model = Model("medical", "medical", tmp_path / "model.gguf", tmp_path / "license")
    made = marked(model, tmp_path / "marked")
    read = gguf.GGUFReader(made.path)
    assert read.fields[KEY.decode()].contents().strip() == mark_of("medical")
    assert read.fields["general.name"].contents() == "one"
    assert {one.name: one.data.tolist() for one in read.tensors} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }
