"""Several rankings become one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.documents.fusion import RANK_OFFSET, fused

RANKINGS = st.lists(st.lists(st.integers(1, 50), unique=True, max_size=20), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("rankings", "order"),
    [
        ([[1, 2, 3]], [1, 2, 3]),
        ([[1, 2], [2, 3]], [2, 1, 3]),
        ([[1, 2], [3, 4]], [1, 3, 2, 4]),
        ([[3, 4], [1, 2]], [3, 1, 4, 2]),
        ([[1, 2, 3], []], [1, 2, 3]),
        ([[1, 2, 3], [3, 2, 1]], [1, 3, 2]),
        ([[], []], []),
    ],
)
def test_what_stands_high_in_more_rankings_comes_first(rankings: list[list[int]], order: list[int]) -> None:
    """Equals as the rankings stand."""
    assert list(fused(rankings)) == order


def test_a_score_is_a_part_of_the_highest() -> None:
    assert fused([[7], [7]]) == {7: 1.0}
    assert fused([[7, 8], []]) == {7: 0.5, 8: pytest.approx((RANK_OFFSET + 1) / (RANK_OFFSET + 2) / 2)}


@given(RANKINGS)
def test_nothing_is_lost_and_scores_fall(rankings: list[list[int]]) -> None:
    found = fused(rankings)
    assert set(found) == {number for ranking in rankings for number in ranking}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(0 < score <= 1.0000001 for score in found.values())
