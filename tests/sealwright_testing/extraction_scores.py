"""Runs traces through the box's own rules: the highest score of each, and what had been answered at its alarm.

A gateway that is started anew knows of each key what the agent has kept, and no prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sealwright_appliance.outflow.extraction import Observed, Profile, score_together, scores
from sealwright_appliance.outflow.key_states import KeyState, KeyStates, counts_of
from sealwright_appliance.outflow.prompt_sketch import PromptMemory
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.extraction_traces import Asked

TOGETHER_EVERY = 20
"""Requests between two looks at all keys together."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One trace."""

    highest: float
    """1 is an alarm."""
    tokens_before: int
    """Answered until the alarm; all where there was none."""
    tokens: int


def kept(profile: Profile) -> Profile:
    """Of a key, as the next gateway hears of it."""
    state = KeyState(model="medical", key="one", **counts_of(profile))
    (told,) = KeyStates.model_validate_json(document_bytes(KeyStates(states=(state,)))).states
    return told.profile(0.0)


def score(requests: list[Asked], restart_every_s: float = math.inf) -> Scored:
    """Score a trace; the clock begins anywhere."""
    memories: dict[str, PromptMemory] = {}
    profiles: dict[str, Profile] = {}
    highest, tokens, before, restart_s = 0.0, 0, None, restart_every_s
    for number, asked in enumerate(requests):
        if asked.arrived_s > restart_s:
            memories, restart_s = {}, restart_s + restart_every_s
            profiles = {key: kept(profile) for key, profile in profiles.items()}
        memory = memories.setdefault(asked.key, PromptMemory(b"0" * 16))
        profile = profiles.setdefault(asked.key, Profile())
        features = memory.compare(asked.messages)
        profile.observe(Observed(asked.arrived_s, asked.ended_s, features, asked.answer_tokens))
        tokens += asked.answer_tokens
        highest = max(highest, *scores(profile).values())
        if number % TOGETHER_EVERY == 0 and len(profiles) > 1:
            highest = max(highest, score_together(list(profiles.values())))
        if highest >= 1 and before is None:
            before = tokens
    return Scored(highest, tokens if before is None else before, tokens)
