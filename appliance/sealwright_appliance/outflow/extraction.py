"""Signs that somebody copies a model through its API (policies/spec/outflow.md, 4). Pure.

Counted is what a copy is made of: tokens of replies to prompts that open a conversation, were not asked before and are
short against their replies (a *harvest*); and prompts that repeat a long beginning with another end (a *sweep*). Many
people harvest as much, so that how it comes decides: without a pause behind each reply, or alike at all hours of a day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from sealwright_appliance.outflow.prompt_sketch import PromptFeatures

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
FORTNIGHT_S = 14 * DAY_S
LOOP_S = 2.0
"""A request within so many seconds of the end of one before is a program's."""
HOURS_KEPT = 25
HOURS_OF_REST, QUIETEST = 4, 4
"""Of a day: those that do not count for its evenness, and those behind them by which it goes. With more of rest a ward
on a box that is off at night and gets no renewals, whose calendar has no nights, is taken for a program."""
WORDS_TO_TOKENS = 1.4
HARVEST_MOST = 200_000.0
"""Tokens of a day. Chosen on the first seeds of tests/bench/bench_outflow.py and measured on others."""
SLOW_MOST = 500_000.0
"""Tokens of a fortnight, in which only evenness over the day counts."""
SWEEPS_MOST = 150.0
"""Prompts of a day."""
TOGETHER_MOST = 300_000.0
"""Tokens of a day, of all keys of a model that each behave like a program."""
PROGRAM = 0.5
SLOWED, REFUSED = 1, 2
"""Levels."""
REFUSED_FROM = 2.0
"""Times the most."""
FALLS_BELOW = 0.5
"""Of what led to a level."""


class Sign(StrEnum):
    """What it looks like."""

    HARVEST = "HARVEST"
    SLOW_HARVEST = "SLOW_HARVEST"
    PREFIX_SWEEP = "PREFIX_SWEEP"
    SEVERAL_KEYS = "SEVERAL_KEYS"


@dataclass(frozen=True, slots=True)
class Observed:
    """One request that is over; times in seconds of one clock that never goes back."""

    arrived_s: float
    ended_s: float
    features: PromptFeatures
    answer_tokens: int


@dataclass(slots=True)
class Profile:
    """Sums over the requests of one key to one model, older ones weighing less: half of them after 0.7 of the time."""

    harvest: float = 0.0
    harvest_slow: float = 0.0
    sweeps: float = 0.0
    requests: float = 0.0
    loops: float = 0.0
    hours: dict[int, int] = field(default_factory=dict)
    """Requests of the last 24 whole hours, and of this one, by number of the hour."""
    at_s: float = 0.0
    first_s: float | None = None
    """When it first asked."""
    last_end_s: float = -DAY_S

    def observe(self, seen: Observed) -> None:
        """Take a request in."""
        self.pass_time(seen.arrived_s)
        self.first_s = self.at_s if self.first_s is None else self.first_s
        self.requests += 1
        self.loops += seen.arrived_s - self.last_end_s < LOOP_S
        self.last_end_s = max(self.last_end_s, seen.ended_s)
        self.sweeps += seen.features.sweeps
        hour = int(self.at_s // HOUR_S)
        self.hours = {one: count for one, count in self.hours.items() if one > hour - HOURS_KEPT}
        self.hours[hour] = self.hours.get(hour, 0) + 1
        tokens = _harvested(seen)
        self.harvest += tokens
        self.harvest_slow += tokens

    def pass_time(self, now_s: float) -> None:
        """Let what is older weigh less."""
        passed = max(0.0, now_s - self.at_s)
        day, slow = math.exp(-passed / DAY_S), math.exp(-passed / FORTNIGHT_S)
        self.harvest, self.sweeps = self.harvest * day, self.sweeps * day
        self.requests, self.loops = self.requests * day, self.loops * day
        self.harvest_slow *= slow
        self.at_s = max(self.at_s, now_s)

    @property
    def looping(self) -> float:
        """Share of requests that come without a pause, 0 to 1."""
        return self.loops / self.requests if self.requests else 0.0

    @property
    def evenness(self) -> float:
        """The quietest of the hours that count against their mean, 0 to 1; 0 in the first day.

        Of the last 24 whole hours those with the fewest requests do not count: a program may rest, or be made to.
        """
        this = int(self.at_s // HOUR_S)
        if self.first_s is None or self.first_s > (this - 24) * HOUR_S:
            return 0.0
        counts = sorted(self.hours.get(hour, 0) for hour in range(this - 24, this))[HOURS_OF_REST:]
        mean = sum(counts) / len(counts)
        return min(1.0, sum(counts[:QUIETEST]) / QUIETEST / mean) if mean else 0.0

    @property
    def programmed(self) -> float:
        """How much it is a program that asks, 0 to 1."""
        return max(self.looping, self.evenness)

    @property
    def is_programmed(self) -> bool:
        """Whether it counts among keys that may work together."""
        return self.programmed >= PROGRAM


def scores(profile: Profile) -> dict[Sign, float]:
    """How much of the most each sign of one key has reached: 1 is an alarm."""
    return {
        Sign.HARVEST: profile.harvest * profile.programmed**2 / HARVEST_MOST,
        Sign.SLOW_HARVEST: profile.harvest_slow * profile.evenness**2 / SLOW_MOST,
        Sign.PREFIX_SWEEP: profile.sweeps / SWEEPS_MOST,
    }


def score_together(profiles: list[Profile]) -> float:
    """The same of all keys of a model that each behave like a program; 0 of fewer than two."""
    programs = [one.harvest * one.programmed**2 for one in profiles if one.is_programmed]
    return sum(programs) / TOGETHER_MOST if len(programs) > 1 else 0.0


def level(score: float, before: int) -> int:
    """0: nothing; 1: alarm, and slower; 2: refused. It falls when half of what led there is over."""
    rises = int(score >= 1.0) + int(score >= REFUSED_FROM)
    falls = int(score >= FALLS_BELOW) + int(score >= REFUSED_FROM * FALLS_BELOW)
    return rises if rises > before else min(before, falls)


def _harvested(seen: Observed) -> float:
    """Tokens of a reply that a copy could be trained with."""
    asked = seen.features.new_words * WORDS_TO_TOKENS
    return seen.answer_tokens**2 / (seen.answer_tokens + asked) if asked and seen.answer_tokens else 0.0
