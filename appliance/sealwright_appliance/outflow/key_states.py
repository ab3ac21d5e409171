"""What is known of each key's requests across restarts: sums and levels, no piece of a prompt. Pure.

    outflow/keys.json

The gateway counts and judges (:mod:`.extraction`); here it is kept, told, and cleared by an administrator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, FiniteFloat

from sealwright_appliance.outflow.extraction import REFUSED, Profile, Sign
from sealwright_policies.wire.encoding import Document, Identifier

STATES_MOST = 1000
Sum = Annotated[FiniteFloat, Field(ge=0, le=2**48)]


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
    sign: Sign | None = None
    level: Annotated[int, Field(ge=0, le=REFUSED)] = 0
    since_s: Annotated[int, Field(ge=0)] = 0
    """When it came to this level, by the budgets' calendar."""
    cleared: Annotated[int, Field(ge=0)] = 0
    """How often an administrator has cleared it: counts from before are not taken any more."""

    def profile(self, now_s: float) -> Profile:
        """To go on with, as if no time had passed."""
        return Profile(self.harvest, self.harvest_slow, self.sweeps, self.requests, self.loops, at_s=now_s)


class KeyStates(Document):
    """All of them; also what the gateway sends and is told."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    states: Annotated[tuple[KeyState, ...], Field(max_length=STATES_MOST)] = ()


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
