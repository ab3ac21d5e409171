"""A device that is enrolled with a licence service, and time that passes for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealwright_licensing.records import Device, License
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import NonceRequest
from sealwright_testing.license_world import LicenseWorld, grant
from sealwright_testing.software_device import SoftwareDevice

DAY = 86_400


@dataclass
class EnrolledDevice:
    """A device under a licence, and its last lease."""

    world: LicenseWorld
    license_: License
    device: SoftwareDevice
    lease: Lease

    @classmethod
    def enroll(cls, world: LicenseWorld) -> EnrolledDevice:
        """Issue a licence, and enrol the first device under it."""
        license_, (code,) = world.issue()
        device = world.device()
        lease = verify_lease(world.enroll(device, code).leases[0], world.service)
        return cls(world, license_, device, lease)

    def nonce(self) -> bytes:
        """A stateless nonce."""
        request = NonceRequest(device_id=self.device.device_id)
        return bytes(self.world.renewal.nonce(request, now=self.world.now).nonce)

    def pass_time(self, seconds: int, *, resets: int = 0) -> None:
        """Time passes for the service and for the TPM."""
        self.world.now += seconds
        self.device.pass_time(seconds, resets=resets)

    def ask(self, nonce: bytes | None = None, **changes: Any) -> bytes:
        """Renew; with the last lease's nonce if none is given."""
        chosen = self.lease.next_nonce if nonce is None else nonce
        request = self.device.renewal(self.license_.license_id, chosen, **changes)
        return self.world.renewal.renew(request, now=self.world.now)

    def renew(self) -> Lease:
        """Renew, store, increment: as the box does."""
        self.lease = verify_lease(grant(self.ask()).leases[0], self.world.service)
        self.device.increment()
        return self.lease

    def stored(self) -> Device:
        """The device's record."""
        with self.world.store.read() as transaction:
            found = transaction.get(Device, self.device.device_id)
        assert found is not None
        return found
