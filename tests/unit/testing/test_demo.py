"""The demo's beginning and end: what stops it stops all of it, and it says what it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sealwright_testing import demo

START_S = 30.0


def wait_until(path: Path) -> None:
    deadline = time.monotonic() + START_S
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_down_says_that_there_is_nothing_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.down(demo.Paths(tmp_path / "demo")) == 0
    assert capsys.readouterr().out == "There is no demo to stop.\n"


def test_down_removes_what_an_ended_demo_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = demo.Paths(tmp_path / "demo")
    paths.directory.mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    paths.pid.write_text(str(ended.pid))
    assert demo.down(paths) == 0
    assert "No demo was running" in capsys.readouterr().out
    assert not paths.directory.exists()


UP = """
import signal
import sys
from pathlib import Path
from sealwright_testing import demo
signal.signal(signal.SIGINT, signal.default_int_handler)
demo.keeper_command = lambda paths: [sys.executable, "-c", "import time; time.sleep(600)", demo.KEEPER]
sys.exit(demo.up(demo.Paths(Path(sys.argv[1]))))
"""
"""The command with a keeper that takes its time; whoever starts tests in the background has SIGINT ignored."""


def test_an_interrupt_ends_the_keeper_too(tmp_path: Path) -> None:
    paths = demo.Paths(tmp_path / "demo")
    argv = [sys.executable, "-c", UP, str(paths.directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as command:
        wait_until(paths.pid)
        command.send_signal(signal.SIGINT)
        printed, _ = command.communicate(timeout=START_S)
    assert command.returncode == demo.INTERRUPTED
    assert "make demo-down" in printed
    with pytest.raises(ProcessLookupError):
        os.kill(int(paths.pid.read_text()), 0)
