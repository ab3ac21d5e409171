"""Each defence of a lease: the story that it is for, and that the story fails without it."""

from __future__ import annotations

import pytest

from sealwright_testing.leases.account import BrokenPromiseError
from sealwright_testing.leases.defences import DEFENCES
from sealwright_testing.leases.scene import Scene

pytestmark = pytest.mark.redteam

STORIES = {defence.story.__name__: defence.story for defence in DEFENCES.values()}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_is_true(scene: Scene, name: str) -> None:
    """Of the code as it is."""
    STORIES[name](scene)


@pytest.mark.parametrize("name", DEFENCES)
def test_without_the_defence_a_promise_is_broken(scene: Scene, name: str) -> None:
    """And the account says so."""
    defence = DEFENCES[name]
    with defence.taken_out(), pytest.raises(BrokenPromiseError):
        defence.story(scene)
