"""A TPM that is ready for the box: opened, with its storage key and its counters in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sealwright_appliance.boot import TpmReading
from sealwright_appliance.tpm_counters import Counters, provision_counters, read_counter
from sealwright_appliance.tpm_device import TpmDevice, open_tpm
from sealwright_appliance.tpm_keys import StorageKey, storage_key
from sealwright_policies.appraisal.reference_values import UNSEAL_SET


@dataclass(frozen=True, slots=True)
class ProvisionedTpm:
    """An open TPM and what the box keeps in it."""

    device: TpmDevice
    srk: StorageKey
    counters: Counters

    def reading(self) -> TpmReading:
        """What leases are compared with, now."""
        clock = self.device.read_clock()
        return TpmReading(
            clock_ms=clock.clock_ms,
            reset_count=clock.reset_count,
            ticks=read_counter(self.device, self.counters.ticks),
            number=self.lease_number(),
            pcrs=self.device.read_pcrs(UNSEAL_SET),
            srk_name=self.srk.public.name,
            tick_counter_name=self.counters.ticks.name,
            lease_counter_name=self.counters.lease.name,
        )

    def lease_number(self) -> int:
        """N, the value of the lease counter."""
        return read_counter(self.device, self.counters.lease)


def provision(device: TpmDevice) -> ProvisionedTpm:
    """Find storage key and counters, and make what is not there yet."""
    return ProvisionedTpm(device, storage_key(device), provision_counters(device))


@contextmanager
def open_provisioned_tpm(tcti: str) -> Iterator[ProvisionedTpm]:
    """Open a TPM and provision it."""
    with open_tpm(tcti) as device:
        yield provision(device)
