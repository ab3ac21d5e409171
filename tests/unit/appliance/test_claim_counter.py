"""A claim is honoured where its counter still stands, and nowhere else."""

from __future__ import annotations

import pytest

from sealwright_appliance.claim_counter import ClaimCounter, is_of_now

NOTED = ClaimCounter(version=1, name="000b" + "5a" * 32, value=7)


def test_a_claim_is_of_now_while_its_counter_stands() -> None:
    assert is_of_now(NOTED, NOTED)


@pytest.mark.parametrize("changes", [{"value": 6}, {"value": 8}, {"name": "000b" + "5b" * 32}])
def test_any_other_counter_or_value_is_another_time(changes: dict[str, object]) -> None:
    assert not is_of_now(NOTED, NOTED.model_copy(update=changes))


def test_what_is_lost_is_no_proof() -> None:
    assert not is_of_now(None, NOTED)
