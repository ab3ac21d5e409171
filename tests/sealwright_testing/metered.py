"""An enrolled box that meters, and the service that it reports to."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from sealwright_licensing.metering import MeteringService
from sealwright_licensing.metering_records import MeteringAlarm, MeteringReceipt
from sealwright_licensing.metering_reports import UsageQuery, totals
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Decision
from sealwright_policies.errors import RejectionCode
from sealwright_policies.metering.receipt import SealedReceipt
from sealwright_policies.metering.report import Acknowledgement, verify_acknowledgement
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import NonceRequest, Purpose
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.metering import ChainWriter, make_report, point, usage_row
from sealwright_testing.software_device import SoftwareDevice

NUMBERS = itertools.count(1)
"""Of devices, each of which is another one."""


@dataclass
class Metered:
    """An enrolled box, its chain, and the service that it reports to."""

    box: EnrolledDevice
    writer: ChainWriter = field(init=False)

    def __post_init__(self) -> None:
        """The chain begins where the TPM stands; then days pass in which receipts are closed."""
        clock = self.box.device.clock
        self.writer = ChainWriter(
            device_id=self.box.device.device_id,
            license_id=self.box.license_.license_id,
            at=point(clock.clock_ms, resets=clock.reset_count, ticks=self.box.device.ticks),
            opened_at=self.box.world.now,
        )
        self.box.pass_time(2 * DAY)

    @classmethod
    def enroll(cls, world: LicenseWorld) -> Metered:
        """A new box under a licence of its own."""
        license_, (code,) = world.issue()
        device = world.device(next(NUMBERS))
        lease = verify_lease(world.enroll(device, code).leases[0], world.service)
        return cls(EnrolledDevice(world, license_, device, lease))

    @property
    def world(self) -> LicenseWorld:
        """The service's."""
        return self.box.world

    @property
    def query(self) -> UsageQuery:
        """What is asked of it."""
        return UsageQuery(device_id=self.box.device.device_id)

    @property
    def service(self) -> MeteringService:
        """Wired as in the application."""
        return MeteringService(self.world.store, self.world.keys, StatelessNonces(self.world.keys.nonce))

    def nonce(self, device: SoftwareDevice | None = None) -> bytes:
        """A fresh one."""
        asked = NonceRequest(device_id=(device or self.box.device).device_id, purpose=Purpose.METERING)
        return bytes(self.world.renewal.nonce(asked, now=self.world.now).nonce)

    def report(self, *receipts: SealedReceipt, nonce: bytes | None = None, **changes: Any) -> Acknowledgement:
        """Report receipts; what the service acknowledges."""
        made = make_report(self.box.device, self.box.license_.license_id, nonce or self.nonce(), receipts, **changes)
        reply = self.service.report(made, now=self.world.now)
        return verify_acknowledgement(reply.acknowledgement, self.world.service)

    def requests(self) -> int:
        """All that count."""
        return sum(counts["requests"] for counts in totals(self.world.store.engine, self.query, "license_id").values())

    def stored(self) -> int:
        """Receipts that are kept."""
        with self.world.store.read() as transaction:
            return transaction.count(MeteringReceipt, device_id=self.box.device.device_id)

    def denials(self) -> list[str]:
        """Codes of denials that were recorded."""
        with self.world.store.read() as transaction:
            found = transaction.find(Decision, purpose="metering", device_id=self.box.device.device_id)
        return [one.code for one in found]

    def alarm_codes(self) -> list[str]:
        """Codes of all alarms."""
        with self.world.store.read() as transaction:
            return [one.code for one in transaction.find(MeteringAlarm, device_id=self.box.device.device_id)]


def forked(metered: Metered) -> ChainWriter:
    """Three receipts are reported, and a fourth; the volume is put back to the second, and two others follow."""
    metered.report(metered.writer.next(), metered.writer.next())
    copy = metered.writer.copy()
    metered.report(metered.writer.next(), metered.writer.next())
    told = metered.report(copy.next(rows=[usage_row(requests=10)]))
    assert [one.code for one in told.findings] == [RejectionCode.METERING_FORK]
    assert metered.report(copy.next(rows=[usage_row(requests=100)])).findings == []
    return copy
