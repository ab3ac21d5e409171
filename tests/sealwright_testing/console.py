"""The serial console of a virtual box: read continuously, kept with times, searched in order."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

STALL_S = 600.0
"""A box that prints nothing for this long has stopped. There is no limit on how long a boot takes: it was seen to
double with the load of the host."""

FAILURES = r"Kernel panic|BdsDxe: failed to (load|start)|Access Denied|UEFI Interactive Shell|[Ee]mergency mode"
"""What ends a boot; waiting for anything else stops there."""

PROMPT = r"login:|Press Enter for maintenance|Give root password|\bsh-\d\.\d[#$]"
"""Of a login, of sulogin, of a shell: what no box may show."""

OUR_LINE = "sealwright: "
"""Lines of the box itself are always ended: one that is not is still being written, and is not matched yet."""

_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=><c78]|[()][0-9A-B])|\r")
_POLL_S = 0.5


class ConsoleError(AssertionError):
    """What a test waited for on the console will not come; carries the console's last lines."""


class Console:
    """Reads ``stream`` in a thread of its own until it ends, and writes it with times in seconds to ``log``."""

    def __init__(self, stream: IO[bytes], log: Path) -> None:
        self._stream = stream
        self._log = log
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._partial = ""
        self._cursor = 0
        self._ended = False
        self._last_output = time.monotonic()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """Everything so far, without escape sequences."""
        with self._changed:
            return "\n".join([*self._lines, self._partial])

    def expect(
        self,
        pattern: str,
        *,
        failures: str = FAILURES,
        stall_s: float = STALL_S,
        obstacle: Callable[[], str | None] = lambda: None,
    ) -> re.Match[str]:
        """Wait for a line that matches, after the line matched last, and return the match.

        Args:
            pattern: Regular expression, searched within one line; also in a last line that is not ended yet.
            failures: Regular expression of lines that end the wait. ``pattern`` goes first.
            stall_s: Seconds without any output after which the box counts as stopped.
            obstacle: Asked now and then; a sentence from it ends the wait.

        Raises:
            ConsoleError: a failure was printed, the console ended or stood still.
        """
        wanted, failure = re.compile(pattern), re.compile(failures)
        with self._changed:
            while True:
                while self._cursor < len(self._lines):
                    line = self._lines[self._cursor]
                    self._cursor += 1
                    if found := wanted.search(line):
                        return found
                    if failure.search(line):
                        raise self._error(pattern, f"the box printed: {line}")
                whole = self._ended or OUR_LINE not in self._partial
                if whole and (found := wanted.search(self._partial)):
                    return found
                if self._ended:
                    raise self._error(pattern, "the box switched off")
                if time.monotonic() - self._last_output > stall_s:
                    raise self._error(pattern, f"the box printed nothing for {stall_s:.0f} s")
                if said := obstacle():
                    raise self._error(pattern, said)
                self._changed.wait(_POLL_S)

    def idle_s(self) -> float:
        """Seconds since the box printed anything."""
        return time.monotonic() - self._last_output

    def join(self) -> None:
        """Wait until the stream has ended and all of it is in the log."""
        self._thread.join()

    def _error(self, pattern: str, reason: str) -> ConsoleError:
        tail = "\n".join([*self._lines, self._partial][-25:])
        return ConsoleError(f"waiting for {pattern!r}: {reason}\nlast lines of {self._log}:\n{tail}")

    def _read(self) -> None:
        start, pending = time.monotonic(), b""
        with self._stream, self._log.open("w", encoding="utf-8") as log:
            while received := self._stream.read1(65536):  # type: ignore[attr-defined]
                *ended, pending = (pending + received).split(b"\n")
                lines = [_clean(line) for line in ended]
                for line in lines:
                    log.write(f"{time.monotonic() - start:8.2f} {line}\n")
                log.flush()
                with self._changed:
                    self._lines += lines
                    self._partial = _clean(pending)
                    self._last_output = time.monotonic()
                    self._changed.notify_all()
            if pending:
                log.write(f"{time.monotonic() - start:8.2f} {_clean(pending)}\n")
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def _clean(line: bytes) -> str:
    return _ESCAPES.sub(b"", line).decode("utf-8", "replace")
