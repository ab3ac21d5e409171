"""What is kept of a log that was seen: the largest, whatever runs beside, and the evidence where two do not fit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_client.license_service import _content
from sealwright_client.seen_logs import _keep_larger, compare_log
from sealwright_policies.errors import OperationError, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, parse_checkpoint, sign_checkpoint
from sealwright_policies.wire.service import LicenseService

SERVICE = LicenseService.model_construct(**{"service_id": "a" * 52})  # type: ignore[arg-type]


def shown(size: int, root: bytes = bytes(32)) -> tuple[str, Checkpoint]:
    point = Checkpoint(log_origin(SERVICE.service_id), size, root)
    return sign_checkpoint(point, Ed25519PrivateKey.generate()), point


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "sealwright/logs" / SERVICE.service_id


def test_a_smaller_log_does_not_take_the_place_of_a_larger_one(file: Path) -> None:
    """That another run has kept meanwhile; and nothing half written is left."""
    compare_log(*shown(9), SERVICE, None, needed=True)
    _keep_larger(file, *shown(5))
    assert parse_checkpoint(file.read_text()).size == 9
    _keep_larger(file, *shown(12))
    assert parse_checkpoint(file.read_text()).size == 12
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_two_histories_are_told_with_a_way_on(file: Path) -> None:
    compare_log(*shown(5), SERVICE, None, needed=True)
    with pytest.raises(VerificationError, match=f"move {file.name} away"):
        compare_log(*shown(5, b"\1" * 32), SERVICE, None, needed=True)
    assert file.with_name(f"{file.name}.other").exists()


def test_evidence_that_cannot_be_kept_does_not_hide_what_was_found(file: Path) -> None:
    compare_log(*shown(5), SERVICE, None, needed=True)
    file.with_name(f"{file.name}.other").mkdir()
    note, point = shown(5, b"\1" * 32)
    with pytest.raises(VerificationError) as caught:
        compare_log(note, point, SERVICE, None, needed=True)
    assert caught.value.code == "LOG_PROOF_INVALID"
    assert note in str(caught.value)


def test_no_more_is_read_than_is_wanted_and_not_for_ever() -> None:
    """Of a service, or whoever stands in its place, that sends without end or a byte at a time."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 100
            yield bytes(100)

    assert len(_content(httpx.Response(200, content=endless()), 250, time.monotonic() + 60)) == 250
    assert read == 300
    with pytest.raises(OperationError, match="longer"):
        _content(httpx.Response(200, content=endless()), 10**9, time.monotonic() - 1)
