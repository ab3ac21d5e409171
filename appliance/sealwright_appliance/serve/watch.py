"""Watches for the copying of a model: counts what each key asks, and slows down or refuses a key that looks like it.

The rules are :mod:`sealwright_appliance.outflow.extraction`. Counting comes behind a reply, so that nothing waits for
it; prompts are compared and forgotten. The agent keeps the sums, and an administrator clears them there. What is
summed goes by the budgets' calendar, so that a restart is no rest.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sealwright_appliance.outflow.extraction import (
    REFUSED,
    SLOWED,
    Observed,
    Profile,
    Sign,
    level,
    score_together,
    scores,
)
from sealwright_appliance.outflow.key_states import KeyState, KnownKeys, counts_of
from sealwright_appliance.outflow.prompt_sketch import KEY_BYTES, PromptMemory
from sealwright_appliance.serve.background import beside
from sealwright_appliance.serve.errors import (
    ApiError,
    extraction_refused,
    extraction_slowed,
    rate_exceeded,
    too_many_at_once,
)
from sealwright_appliance.serve.meter import Tally
from sealwright_policies.outflow import OutflowPolicy, Reaction

KEYS_MOST = 256
"""Whose prompts are remembered: those that have been answered last. 64 MiB."""
SENT_AT_ONCE = 256
SLOW_EVERY_S = 10.0
"""Between two requests of a key that is slowed down."""
SLOW_QUEUE_S = 60.0
"""Longest wait; who asks further ahead is refused."""
REFUSED_RETRY_S = 3600
SEND_EVERY_S = 60.0
MINUTE_S = 60.0

Name = tuple[str, str]
"""Model, and name of the key."""
Report = Callable[[Sequence[KeyState]], Awaitable[None]]


@dataclass(slots=True)
class _Watched:
    profile: Profile
    cleared: int = 0
    level: int = 0
    sign: Sign | None = None
    rate_full_s: float = 0.0
    """When a whole minute's requests will have been regained."""
    next_s: float = 0.0
    """When a slowed key may ask again."""


@dataclass
class Watch:
    """Of one gateway."""

    report: Report
    """Tells the agent; raises ApiError."""
    steady: Callable[[], float] = time.monotonic
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    _ahead_s: float = 0.0
    """The budgets' calendar, less the steady clock."""
    _watched: dict[Name, _Watched] = field(default_factory=dict)
    """As many as there are models and keys that have asked."""
    _memories: OrderedDict[Name, PromptMemory] = field(default_factory=OrderedDict)
    _changed: set[Name] = field(default_factory=set)
    _soon: asyncio.Event = field(default_factory=asyncio.Event)

    async def admit(self, name: Name, policy: OutflowPolicy, known: KnownKeys, *, prompts: int = 1) -> None:
        """Let a request wait, if its key is slowed down.

        Args:
            known: what the agent keeps.
            prompts: asked at once; each counts like a request.

        Raises:
            ApiError: 400, more prompts than a minute has requests; 429, the key is refused, or has too many requests
                that wait.
        """
        self._ahead_s = max(self._ahead_s, known.ahead_s)
        watched, now = self._of(name, known.states.get(name)), self.steady()
        watched.profile.pass_time(self._calendar_s())
        self._judge(name, watched)
        self._require_rate(watched, policy, now, prompts)
        if policy.on_extraction is not Reaction.THROTTLE or watched.level < SLOWED:
            return
        if watched.level >= REFUSED:
            raise extraction_refused(REFUSED_RETRY_S)
        wait = max(0.0, watched.next_s - now)
        if wait > SLOW_QUEUE_S:
            raise extraction_slowed(int(wait))
        watched.next_s = now + wait + SLOW_EVERY_S * prompts
        await asyncio.sleep(wait)

    @staticmethod
    def _require_rate(watched: _Watched, policy: OutflowPolicy, now: float, prompts: int) -> None:
        """Take some of this minute's requests, which are regained evenly."""
        if policy.requests_per_minute is None:
            return
        if prompts > policy.requests_per_minute:
            raise too_many_at_once(policy.requests_per_minute)
        full_s = max(watched.rate_full_s, now) + prompts * MINUTE_S / policy.requests_per_minute
        if full_s - now > MINUTE_S:
            raise rate_exceeded(math.ceil(full_s - now - MINUTE_S))
        watched.rate_full_s = full_s

    @asynccontextmanager
    async def over(
        self, name: Name, conversations: Sequence[Sequence[tuple[str, str]]], tally: Tally
    ) -> AsyncIterator[None]:
        """Count a request when it is over, however it ends.

        Args:
            conversations: prompts that it asks at once; each is counted, with its share of the tokens.
        """
        arrived_s = self._calendar_s()
        try:
            yield
        finally:
            share = -(-tally.outflow_tokens // len(conversations))
            for messages in conversations:
                self.observe(name, messages, arrived_s, share)

    def observe(self, name: Name, messages: Sequence[tuple[str, str]], arrived_s: float, answer_tokens: int) -> None:
        """Count a request that was admitted and is over."""
        watched, features = self._watched[name], self._memory(name).compare(messages)
        watched.profile.observe(Observed(arrived_s, self._calendar_s(), features, answer_tokens))
        self._changed.add(name)
        self._judge(name, watched)

    def _judge(self, name: Name, watched: _Watched) -> None:
        """Bring a key to its level; the agent is told of another one at once."""
        sign, highest = max(scores(watched.profile).items(), key=lambda one: one[1])
        if watched.profile.is_programmed:
            together = score_together([one.profile for (model, _), one in self._watched.items() if model == name[0]])
            if together > highest:
                sign, highest = Sign.SEVERAL_KEYS, together
        reached = level(highest, watched.level)
        if reached != watched.level:
            watched.level, watched.sign = reached, sign if reached else None
            self._changed.add(name)
            self._soon.set()

    async def send(self) -> None:
        """Tell the agent what has changed."""
        while self._changed:
            names = list(itertools.islice(self._changed, SENT_AT_ONCE))
            self._changed.difference_update(names)
            try:
                await self.report([self._state(name) for name in names])
            except ApiError:
                self._changed.update(names)
                raise

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell from time to time, and at the end once more."""
        async with beside(self._keep_sending(), self._send_rest):
            yield

    async def _keep_sending(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_EVERY_S):
                    await self._soon.wait()
            self._soon.clear()
            if self._changed:
                with suppress(ApiError):  # it is told with the next counts
                    await self.send()

    async def _send_rest(self) -> None:
        with suppress(ApiError):
            await self.send()

    def _of(self, name: Name, state: KeyState | None) -> _Watched:
        """What is known of a key; of one that was not watched yet or was cleared, what the agent keeps."""
        watched = self._watched.get(name)
        if watched is None or (state is not None and state.cleared > watched.cleared):
            now = self._calendar_s()
            watched = _Watched(Profile(at_s=now))
            if state is not None:
                watched = _Watched(state.profile(now), state.cleared, state.level, state.sign)
            self._watched[name] = watched
        return watched

    def _memory(self, name: Name) -> PromptMemory:
        if name not in self._memories:
            self._memories[name] = PromptMemory(self.secret)
        self._memories.move_to_end(name)
        if len(self._memories) > KEYS_MOST:
            self._memories.popitem(last=False)
        return self._memories[name]

    def _calendar_s(self) -> float:
        return self.steady() + self._ahead_s

    def _state(self, name: Name) -> KeyState:
        watched, (model, key) = self._watched[name], name
        counts = counts_of(watched.profile)
        return KeyState(model=model, key=key, sign=watched.sign, level=watched.level, cleared=watched.cleared, **counts)
