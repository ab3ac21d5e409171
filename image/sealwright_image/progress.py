"""Progress of long steps on standard error, and their times for ``build.json``."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

_REDRAW_S = 0.2
_LINE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class StepTime:
    """One finished step."""

    name: str
    seconds: float
    size: int
    """Bytes worked through; 0 where that says nothing."""


@dataclass(slots=True)
class Step:
    """A step under way; ``advance`` by the bytes done."""

    name: str
    total: int
    stream: TextIO
    live: bool
    """Redraw one line (a terminal) instead of a new line now and then (a log)."""
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    _shown: float = 0.0

    def advance(self, size: int) -> None:
        self.done += size
        now = time.monotonic()
        if now - max(self._shown, self.started) < (_REDRAW_S if self.live else _LINE_EVERY_S):
            return
        self._shown = now
        self.stream.write(("\r\x1b[K" if self.live else "") + self._line(now) + ("" if self.live else "\n"))
        self.stream.flush()

    def _line(self, now: float) -> str:
        elapsed = now - self.started
        line = f"  {self.name}: {elapsed:.0f} s"
        if self.total and elapsed > 0:
            line += f", {100 * self.done // self.total} %, {self.done / 1e6 / elapsed:.0f} MB/s"
        return line


@dataclass(slots=True)
class Progress:
    """Shows steps and remembers how long they took. Give it an ``io.StringIO`` for silence."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    steps: list[StepTime] = field(default_factory=list)

    @contextmanager
    def ticking(self, name: str) -> Iterator[None]:
        """Show a step that cannot tell how far it is: the time passes on, from a thread."""
        over = threading.Event()
        with self.step(name) as step:

            def tick() -> None:
                while not over.wait(_REDRAW_S):
                    step.advance(0)

            thread = threading.Thread(target=tick, daemon=True)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()

    @contextmanager
    def step(self, name: str, total: int = 0) -> Iterator[Step]:
        """Show a step while the block runs; ``total`` in bytes makes it a rate. A step that fails is not remembered."""
        live = self.stream.isatty()
        self.stream.write(f"  {name} …" + ("" if live else "\n"))
        self.stream.flush()
        step = Step(name, total, self.stream, live)
        try:
            yield step
        except BaseException:
            if live:
                self.stream.write("\n")
            raise
        seconds = time.monotonic() - step.started
        self.steps.append(StepTime(name, seconds, total))
        rate = f" ({total / 1e6 / seconds:.0f} MB/s)" if total and seconds > 0 else ""
        self.say(("\r\x1b[K" if live else "") + f"  {name}: {seconds:.1f} s{rate}")

    def say(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()
