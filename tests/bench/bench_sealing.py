"""What sealing costs: the TPM's part of a boot and of a renewal."""

from __future__ import annotations

from collections.abc import Iterable

from sealwright_testing.bench import Figure
from sealwright_testing.tpm_bench import measure_tpm


def measure() -> Iterable[Figure]:
    """All figures."""
    yield from measure_tpm()
