"""What ``sealwright-box`` refuses before it sends anything, in one line and with its exit code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sealwright_client.cli import main
from sealwright_client.pinning import parse_fingerprint

FINGERPRINT = "sha256:" + "5f" * 32


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and message of a command that must fail."""
    code = main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    return code, line


@pytest.mark.parametrize("url", ["box", "http://box:8443", "https://", "https://box:99999", "https://box/v1"])
def test_another_address_than_https_host_and_port_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    code, line = refused(capsys, "status", url, "--fingerprint", FINGERPRINT)
    assert code == 2
    assert repr(url) in line


@pytest.mark.parametrize("text", ["", "sha256:", "5f" * 31, "zz" * 32, "sha1:" + "5f" * 32])
def test_what_is_no_fingerprint_is_a_usage_error(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, line = refused(capsys, "status", "https://127.0.0.1:1", f"--fingerprint={text}")
    assert code == 2
    assert "64 hexadecimal digits" in line


@pytest.mark.parametrize("text", [FINGERPRINT, "5f" * 32, "SHA256:" + "5F" * 32, ":".join(["5F"] * 32)])
def test_a_fingerprint_may_be_copied_in_any_usual_spelling(text: str) -> None:
    assert parse_fingerprint(text) == FINGERPRINT


def test_a_manifest_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    absent = str(tmp_path / "manifest.json")
    files = ("--manifest", absent, "--manifest-key", absent)
    code, line = refused(capsys, "verify", "https://127.0.0.1:1", "--fingerprint", FINGERPRINT, *files)
    assert code == 2
    assert absent in line


def test_a_box_that_does_not_answer_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        code, line = refused(capsys, "status", url, "--fingerprint", FINGERPRINT)
    assert code == 1
    assert "Connection refused" in line
