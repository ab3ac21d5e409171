"""What a soak takes for growth."""

from __future__ import annotations

import random

import pytest

from sealwright_testing.soak import MIB, growth


def test_memory_that_wavers_is_flat() -> None:
    rng = random.Random(1)
    assert growth("gateway", [60 * MIB + rng.randrange(3 * MIB) for _ in range(60)]).is_flat


def test_warming_up_is_no_growth() -> None:
    assert growth("gateway", [20 * MIB] * 20 + [80 * MIB] * 40).is_flat


@pytest.mark.parametrize("leak", [MIB, 2 * MIB])
def test_a_leak_is_growth(leak: int) -> None:
    """Of so many bytes each sample; an hour has 720."""
    assert not growth("gateway", [60 * MIB + leak * number for number in range(60)]).is_flat
