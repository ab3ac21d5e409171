"""The search of the red team suite finds a canary however it is written."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import pytest

from sealwright_testing.redteam.canaries import WINDOW, forms, found_in, weight_windows

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
