"""The console of a virtual box, read from a pipe."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from sealwright_testing.console import Console, ConsoleError


def console(tmp_path: Path, output: bytes) -> Console:
    """A console that printed ``output`` and ended."""
    made = Console(io.BufferedReader(io.BytesIO(output)), tmp_path / "console.log")
    made.join()
    return made


@contextmanager
def silent() -> Iterator[IO[bytes]]:
    """The output of a box that is on and says nothing."""
    read_end, write_end = os.pipe()
    try:
        yield os.fdopen(read_end, "rb")
    finally:
        os.close(write_end)


def test_lines_match_in_order(tmp_path: Path) -> None:
    """A second wait begins after the line that ended the first."""
    box = console(tmp_path, b"state locked\r\nstate serving\r\nstate locked: again\r\n")
    assert box.expect("state locked").string == "state locked"
    assert box.expect("state locked: (.*)")[1] == "again"
    with pytest.raises(ConsoleError, match="switched off"):
        box.expect("state serving")


def test_escape_sequences_are_not_text(tmp_path: Path) -> None:
    """Firmware colours and moves the cursor within words that tests look for."""
    box = console(tmp_path, b"\x1b[2J\x1b[01;01H\x1b[=3hBds\x1b[0m\x1b[37mDxe: load\x1b[40ming\n")
    assert box.text.strip() == "BdsDxe: loading"


def test_a_prompt_without_a_line_end_is_seen(tmp_path: Path) -> None:
    """Nothing follows a prompt."""
    assert console(tmp_path, b"one\nShell> ").expect("Shell>")


def test_half_a_line_of_the_box_is_not_matched() -> None:
    """A code must not be taken for whole while its line is being written."""
    read, write = os.pipe()
    with tempfile.NamedTemporaryFile() as log, os.fdopen(write, "wb", buffering=0) as out:
        box = Console(os.fdopen(read, "rb"), Path(log.name))
        out.write(b"sealwright: claim code AB")
        threading.Timer(1.0, out.write, [b"CD-1234\n"]).start()
        assert box.expect(r"claim code (\S+)")[1] == "ABCD-1234"


def test_a_failure_ends_the_wait_at_once(tmp_path: Path) -> None:
    """With the console's last lines in the message; unless the failure is what is waited for."""
    output = b"booting\nBdsDxe: failed to load Boot0001: Access Denied\nmore\n"
    with pytest.raises(ConsoleError, match=r"printed: BdsDxe: failed(?s:.*)booting"):
        console(tmp_path, output).expect("serving")
    assert console(tmp_path, output).expect("Access Denied")


def test_an_obstacle_ends_the_wait(tmp_path: Path) -> None:
    """What the console does not show, such as a paused processor."""
    with silent() as stream:
        box = Console(stream, tmp_path / "console.log")
        with pytest.raises(ConsoleError, match="the kernel panicked"):
            box.expect("serving", obstacle=lambda: "the kernel panicked")


def test_silence_ends_the_wait(tmp_path: Path) -> None:
    """A box that prints nothing has stopped."""
    with silent() as stream:
        box = Console(stream, tmp_path / "console.log")
        with pytest.raises(ConsoleError, match="printed nothing"):
            box.expect("serving", stall_s=0)
