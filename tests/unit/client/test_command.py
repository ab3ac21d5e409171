"""What ``sealwright-box`` refuses before it sends anything, in one line and with its exit code."""

from __future__ import annotations

import io
import re
import shlex
import socket
from pathlib import Path

import pytest

from sealwright_client.cli import EPILOG, main, parser
from sealwright_client.cli_keys import admin_key
from sealwright_client.cli_output import distance, moment, shown
from sealwright_client.cli_status import status_lines
from sealwright_client.pinning import parse_fingerprint
from sealwright_policies.errors import UsageError

DOCS = Path(__file__).parents[3] / "docs"
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


def test_an_error_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """It may hold the words of a box that nobody knows yet."""
    code, line = refused(capsys, "status", "https://127.0.0.1:1", "--fingerprint", "@\x1b[2J\u202egone")
    assert code == 2
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert r"\u001b[2J\u202egone" in line


@pytest.mark.parametrize("text", ["", "sha256:", "5f" * 31, "zz" * 32, "sha1:" + "5f" * 32])
def test_what_is_no_fingerprint_is_a_usage_error(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, line = refused(capsys, "status", "https://127.0.0.1:1", f"--fingerprint={text}")
    assert code == 2
    assert "64 hexadecimal digits" in line


@pytest.mark.parametrize("text", [FINGERPRINT, "5f" * 32, "SHA256:" + "5F" * 32, ":".join(["5F"] * 32)])
def test_a_fingerprint_may_be_copied_in_any_usual_spelling(text: str) -> None:
    assert parse_fingerprint(text) == FINGERPRINT


def test_a_file_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    code, line = refused(capsys, "status", "https://127.0.0.1:1", "--fingerprint", f"@{absent}")
    assert code == 2
    assert absent in line
    with pytest.raises(UsageError, match="null byte"):
        parse_fingerprint("@\0")
    files = ("--service", absent, "--manifest-key", absent)
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


def commands_in(text: str) -> list[list[str]]:
    """The command lines of indented examples."""
    found = re.findall("^ +(sealwright-box .*)", text.replace("\\\n", " "), flags=re.MULTILINE)
    return [shlex.split(line.split(" < ")[0]) for line in found]


EXAMPLES = commands_in(EPILOG) + [
    words for name in ("the-box", "serving") for words in commands_in((DOCS / f"{name}.md").read_text())
]


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_every_example_is_a_command_that_exists(words: list[str]) -> None:
    arguments = parser().parse_args(words[1:])
    asks_a_box = words[1:3] != ["release", "sign"]
    assert not asks_a_box or arguments.url.startswith("https://")


@pytest.mark.parametrize("option", ["--claim-code", "--activation-code", "--admin-key"])
def test_no_argument_takes_a_secret(option: str) -> None:
    """Whoever is logged in sees the arguments of every command."""
    for words in EXAMPLES:
        with pytest.raises(SystemExit) as caught:
            main([*words[1:], option, "AAAA"])
        assert caught.value.code == 2


@pytest.mark.parametrize(("typed", "said"), [(b"", "sw- and 43"), ("sw-密".encode(), "sw- and 43"), (b"x\n", "sw-")])
def test_what_is_no_key_is_not_sent(monkeypatch: pytest.MonkeyPatch, typed: bytes, said: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
    with pytest.raises(UsageError, match=said):
        admin_key()


def test_a_lease_ends_at_a_time_that_people_can_read() -> None:
    lease = {"number": 7, "expires_at": 1_767_225_600, "warnings": []}
    lines = status_lines({"state": "serving", "lease": lease}, now=1_767_225_600 - 13 * 86_400 - 5)
    assert "lease     number 7, until 2026-01-01 00:00 UTC (in 13 days)" in lines


def test_status_says_how_far_a_workload_has_come_and_what_it_tells_of_its_runs() -> None:
    metrics = {"steps": 14.0, "loss_after": 0.1235}
    workload = {"payload_id": "lora", "domain": "training", "run": "done", "metrics": metrics}
    lines = status_lines({"state": "serving", "workloads": [workload]}, now=0)
    assert lines[-1] == "workload  lora [training] done, steps 14.0, loss_after 0.1235"
    lines = status_lines({"state": "serving", "workloads": [workload | {"sentence": "It is full."}]}, now=0)
    assert lines[-1] == "workload  lora [training] done (It is full.), steps 14.0, loss_after 0.1235"


@pytest.mark.parametrize(
    ("away", "words"),
    [(86_400, "in 1 day"), (7199, "in 1 hour"), (120, "in 2 minutes"), (59, "now"), (-3600, "1 hour ago")],
)
def test_distances_are_told_in_their_largest_unit(away: int, words: str) -> None:
    assert distance(1000 + away, 1000) == words


@pytest.mark.parametrize("seconds", [None, "soon", 10**30, float("nan")])
def test_a_time_that_is_none_is_shown_as_it_is(seconds: object) -> None:
    assert moment(seconds) == f"unknown ({seconds})"


def test_what_a_vendor_says_moves_no_cursor_and_turns_no_text_around() -> None:
    """The dialogue of an approval is all that the customer has to go by."""
    assert shown(["owner     x\x1b[2K\x1b[1A", "egress\u202e\r\n\tnone", "äöü 中文"]) == (
        "owner     x\\u001b[2K\\u001b[1A\negress\\u202e\\u000d \\u0009none\näöü 中文"
    )
