"""What is known of each key's requests across restarts: sums, hours and levels, no piece of a prompt. Pure.

    outflow/keys.json

Times are of the budgets' calendar, in seconds.

The gateway counts and judges (:mod:`.extraction`); here it is kept, told, and cleared by an administrator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, FiniteFloat

from sealwright_appliance.outflow.extraction import HOUR_S, HOURS_KEPT, REFUSED, Profile, Sign
from sealwright_policies.wire.encoding import Document, Identifier

STATES_MOST = 1000
Sum = Annotated[FiniteFloat, Field(ge=0, le=2**48)]
Requests = Annotated[int, Field(ge=0, le=2**48)]
SUMS = ("harvest", "harvest_slow", "sweeps", "requests", "loops", "at_s", "first_s")


class KeyState(Document):
    """One key at one model."""

    model: Identifier
    key: Annotated[str, Field(min_length=1, max_length=64)]
    """Name of the API key."""
    harvest: Sum = 0.0
    harvest_slow: Sum = 0.0
    sweeps: Sum = 0.0
    requests: Sum = 0.0
    loops: Sum = 0.0
    hours: Annotated[tuple[Requests, ...], Field(max_length=HOURS_KEPT)] = ()
    """Requests of the hour of the latest count, of the one before, and so on."""
    at_s: Sum | None = None
    """Of the latest count."""
    first_s: Sum | None = None
    """Of the first request."""
    sign: Sign | None = None
    level: Annotated[int, Field(ge=0, le=REFUSED)] = 0
    since_s: Annotated[int, Field(ge=0)] = 0
    """When it came to this level."""
    cleared: Annotated[int, Field(ge=0)] = 0
    """How often an administrator has cleared it: counts from before are not taken any more."""

    def profile(self, now_s: float) -> Profile:
        """To go on with."""
        sums = {one: getattr(self, one) for one in SUMS}
        at_s = now_s if self.at_s is None else self.at_s
        latest = int(at_s // HOUR_S)
        return Profile(**sums | {"at_s": at_s}, hours={latest - ago: count for ago, count in enumerate(self.hours)})


class KeyStates(Document):
    """All of them; also what the gateway sends and is told."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    at_s: Annotated[int, Field(ge=0)] = 0
    """Now, when the agent tells."""
    states: Annotated[tuple[KeyState, ...], Field(max_length=STATES_MOST)] = ()


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What the gateway is told."""

    states: Mapping[tuple[str, str], KeyState]
    """By model and name of the key."""
    ahead_s: float
    """The calendar, less the machine's steady clock."""


def counts_of(profile: Profile) -> dict[str, Any]:
    """A profile as a state has it."""
    latest = int(profile.at_s // HOUR_S)
    hours = tuple(profile.hours.get(latest - ago, 0) for ago in range(HOURS_KEPT))
    return {one: getattr(profile, one) for one in SUMS} | {"hours": hours}


def with_counted(kept: KeyStates, counted: Sequence[KeyState], at_s: int) -> tuple[KeyStates, list[KeyState]]:
    """Take in what the gateway has counted.

    Returns:
        All states, those with most in them if there are too many, and those that have come to a higher level.
    """
    states = {(one.model, one.key): one for one in kept.states}
    raised = []
    for one in counted:
        before = states.get((one.model, one.key), KeyState(model=one.model, key=one.key))
        if one.cleared != before.cleared:
            continue
        since_s = before.since_s if one.level == before.level else at_s
        states[one.model, one.key] = one.model_copy(update={"since_s": since_s})
        if one.level > before.level:
            raised.append(states[one.model, one.key])
    most = sorted(states.values(), key=lambda one: (one.level, one.cleared, one.harvest_slow), reverse=True)
    return KeyStates(states=tuple(most[:STATES_MOST])), raised


def with_cleared(kept: KeyStates, key: str) -> KeyStates:
    """Begin anew with a key, at all models."""
    return KeyStates(
        states=tuple(
            KeyState(model=one.model, key=one.key, cleared=one.cleared + 1) if one.key == key else one
            for one in kept.states
        )
    )
