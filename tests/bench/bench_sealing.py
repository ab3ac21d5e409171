"""What sealing costs: in instructions against the same without it, the TPM's part of a boot and of a renewal, and a
whole boot to the first token."""

from __future__ import annotations

from collections.abc import Iterable

from sealwright_testing.bench import Figure
from sealwright_testing.boot_bench import measure_boot
from sealwright_testing.sealing_costs import measure_costs
from sealwright_testing.tpm_bench import measure_tpm
from sealwright_testing.world import prepare


def measure() -> Iterable[Figure]:
    """All figures."""
    yield from measure_tpm()
    yield from measure_costs()
    yield from measure_boot(prepare())
