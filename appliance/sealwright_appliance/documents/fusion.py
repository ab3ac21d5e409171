"""Reciprocal rank fusion (Cormack and others, SIGIR 2009): several rankings become one, by ranks alone."""

from __future__ import annotations

from collections.abc import Sequence

RANK_OFFSET = 60


def fused(rankings: Sequence[Sequence[int]]) -> dict[int, float]:
    """Whatever stands in any of the rankings, the best first, with its part of the highest possible score.

    Of equals the one comes first that stands in an earlier ranking: words before vectors, of which the first is always
    the nearest and not always near.

    Args:
        rankings: of numbers, each the best first and every number once.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, start=1):
            scores[number] = scores.get(number, 0.0) + 1 / (RANK_OFFSET + rank)
    highest = len(rankings) / (RANK_OFFSET + 1)
    best = sorted(scores, key=lambda number: -scores[number])
    return {number: scores[number] / highest for number in best}
