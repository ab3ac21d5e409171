"""Admission: how many requests an engine has at once, how many may wait for it, and whose turn it is.

The queue is here and not in the engine, whose own does not notice clients that leave it and knows no keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from sealwright_appliance.serve.errors import busy

RETRY_AFTER_S = 5
SHARED_S = 600.0
"""How long behind a key's last request a place is kept free of the other keys."""


@dataclass(eq=False, slots=True)
class _Request:
    places: int
    """That it asks for; once it has them, that it holds."""
    turn: asyncio.Future[None]

    @property
    def waits(self) -> bool:
        """Whether its client is still there, and it has neither been let in nor refused."""
        return not self.turn.done()


@dataclass(slots=True)
class _Line:
    """The requests of one key."""

    waiting: list[_Request] = field(default_factory=list)
    """In their order."""
    running: list[_Request] = field(default_factory=list)
    last: int = 0
    """Number of its last turn."""
    seen: float = 0.0
    """When the last one came or went."""

    @property
    def held(self) -> int:
        """Places that it has."""
        return sum(one.places for one in self.running)

    @property
    def inside(self) -> bool:
        """Whether it has a request here."""
        return bool(self.waiting or self.running)


class Admission:
    """A bounded queue, fair between API keys.

    A free place goes to the key that has the fewest, among equals to the one whose last turn is longest ago; requests
    of one key go in their order. As long as several keys are in use none has all places, so that whoever asks now and
    then finds one at once, however long the others' replies are. Into a full queue a key's request still gets if
    another key has more in it: that one's newest has to go.

    Args:
        active: places of the engine.
        waiting: requests that may wait beside them.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, *, active: int, waiting: int, now: Callable[[], float] = time.monotonic) -> None:
        self.places = active
        """Of the engine."""
        self._waiting_most = waiting
        self._now = now
        self._lines: dict[str, _Line] = {}
        self._turns = 0
        self._spare = 0
        """Places that the box has for work of its own."""

    @property
    def running(self) -> int:
        """Places that are taken."""
        return sum(line.held for line in self._lines.values()) + self._spare

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return sum(len(line.waiting) for line in self._lines.values())

    @asynccontextmanager
    async def slot(self, key: str, places: int = 1) -> AsyncIterator[None]:
        """Hold places of the engine.

        Args:
            key: whose request it is.
            places: replies that it asks for at once; it gets no more than its key may have.

        Raises:
            ApiError: 429, the queue is full.
        """
        line = self._line(key)
        request = _Request(places, asyncio.get_running_loop().create_future())
        line.waiting.append(request)
        try:
            self._give()
            self._bound(line)
            await request.turn
            yield
        finally:
            for requests in (line.waiting, line.running):
                if request in requests:
                    requests.remove(request)
            line.seen = self._now()
            self._give()

    @contextmanager
    def spare(self) -> Iterator[bool]:
        """Hold a place for the box's own work, if nobody waits and another place stays free; whether it has one."""
        is_free = not self.waiting and self.places - self.running > 1
        self._spare += is_free
        try:
            yield is_free
        finally:
            self._spare -= is_free
            self._give()

    def _line(self, key: str) -> _Line:
        self._lines = {name: line for name, line in self._lines.items() if line.inside or self._recent(line)}
        line = self._lines.setdefault(key, _Line())
        line.seen = self._now()
        return line

    def _give(self) -> None:
        """Give free places away."""
        for line in self._lines.values():
            line.waiting = [one for one in line.waiting if one.waits]
        while lines := [(line, self._most(key)) for key, line in self._lines.items() if line.waiting]:
            below = [(line, most) for line, most in lines if line.held + min(line.waiting[0].places, most) <= most]
            if not below:
                return
            line, most = min(below, key=lambda one: (one[0].held, one[0].last))
            request = line.waiting[0]
            # Whoever needs more places than are free waits for them, and all others behind it.
            if min(request.places, most) > self.places - self.running:
                return
            request.places = min(request.places, most)
            line.running.append(line.waiting.pop(0))
            self._turns += 1
            line.last = self._turns
            request.turn.set_result(None)

    def _bound(self, newest: _Line) -> None:
        """Refuse one where too many wait."""
        if self.waiting > self._waiting_most:
            longest = max(self._lines.values(), key=lambda one: (len(one.waiting), one is newest))
            longest.waiting.pop().turn.set_exception(busy(RETRY_AFTER_S))

    def _most(self, key: str) -> int:
        """Places that a key may have now."""
        others = any(name != key and (line.inside or self._recent(line)) for name, line in self._lines.items())
        return max(1, self.places - others)

    def _recent(self, line: _Line) -> bool:
        return self._now() - line.seen <= SHARED_S
