"""Memory of the service, and all other figures of renewals, over 50 000 of them: some minutes."""

from __future__ import annotations

from collections.abc import Iterator

from sealwright_testing.bench import Figure
from sealwright_testing.renewal_bench import measure_renewals

ROUNDS, RENEWALS = 10, 5_000


def measure() -> Iterator[Figure]:
    """The figures."""
    yield from measure_renewals(ROUNDS, RENEWALS, workers=2)
