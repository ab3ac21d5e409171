"""Time that passes only when it is told to, for a box, its swtpm and the licence service alike.

swtpm gets it from libfaketime, which reads a file at every call; its TPM clock then moves as that of a machine that
runs. In a boot the lease keeper waits by :class:`VirtualStop`, which lets time pass instead.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
START = 1_800_000_000


@dataclass(frozen=True)
class Meanwhile:
    """Something that happens at a time while the box runs."""

    at: float
    action: Callable[[], None]


class TimeIsUpError(BaseException):
    """The machine's owner ends the boot. Not an Exception: nothing in the box catches a power cut."""


@dataclass
class VirtualTime:
    """Seconds since the epoch, as the world outside counts them."""

    directory: Path
    now: float = START
    slices: int = field(default=0, init=False)
    """How often time has passed."""

    def __post_init__(self) -> None:
        """Begin."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to live in this time."""
        if not Path(LIBRARY).exists() or shutil.which("faketime") is None:
            raise RuntimeError(f"{LIBRARY} is missing; install the package faketime")
        return os.environ | {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DISABLE_SHM": "1",  # it would be left behind by every power cut
        }

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.slices += 1
        self._write()

    @property
    def _file(self) -> Path:
        return self.directory / "faketime"

    def _write(self) -> None:
        # In place: swtpm looks at it only while it works on a command, and none is under way now.
        self._file.write_text(f"+{self.now - START:.3f}\n")


class VirtualStop(threading.Event):
    """The event on which a lease keeper sleeps: it never waits, and is up at a deadline."""

    def __init__(self, time: VirtualTime, deadline: float, meanwhile: Iterable[Meanwhile] = ()) -> None:
        super().__init__()
        self._time = time
        self._deadline = deadline
        self._meanwhile = sorted(meanwhile, key=lambda one: one.at)

    def wait(self, timeout: float | None = None) -> bool:
        """Let the time pass, at most to the deadline.

        Raises:
            TimeIsUpError: it is reached.
        """
        until = self._deadline if timeout is None else min(self._deadline, self._time.now + timeout)
        while self._meanwhile and self._meanwhile[0].at <= until:
            one = self._meanwhile.pop(0)
            self._time.advance(max(0.0, one.at - self._time.now))
            one.action()
        self._time.advance(max(0.0, until - self._time.now))
        if self._time.now >= self._deadline:
            raise TimeIsUpError
        return False
