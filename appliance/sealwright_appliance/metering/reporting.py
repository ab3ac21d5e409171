"""A report, step by step (policies/spec/metering.md, 3 and 5).

(1) take the oldest receipts that wait, (2) have a quote carry their head, (3) send them, (4) drop what the service
acknowledges. Killed after any step, the next report sends the same receipts, and the service counts them once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.renewal import Renewal, evidence_for, next_nonce, report_with_nonce
from sealwright_appliance.tpm_counters import read_counter
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_policies.metering.receipt import Point, SealedReceipt
from sealwright_policies.metering.report import MeteringReport, head_of
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.messages import Purpose


@dataclass(frozen=True, slots=True)
class Reporting:
    """What a report works with."""

    renewal: Renewal
    meter: BoxMeter
    tpm_lock: threading.Lock
    """Held only while the TPM is asked: a report that hangs in the network keeps no renewal waiting."""
    tcti: str

    def open_meter(self) -> None:
        """Let the meter go on from where the TPM stands."""
        with self.tpm_lock, open_provisioned_tpm(self.tcti) as tpm:
            now = read_point(tpm)
        self.meter.open(now)

    def close_interval(self) -> SealedReceipt:
        """Close the open interval where the TPM stands."""
        with self.tpm_lock, open_provisioned_tpm(self.tcti) as tpm:
            now, number = read_point(tpm), tpm.lease_number()
        return self.meter.close(now, number)

    def report(self) -> int:
        """Report the oldest receipts that wait; returns how many the service acknowledged.

        Raises:
            DeniedError, ServiceUnreachableError: from the service.
            OperationError: from the TPM or the disk.
            FormatError, VerificationError: the acknowledgement is not for this box.
        """
        receipts = self.meter.export()  # (1)
        if not receipts:
            return 0
        reply = report_with_nonce(
            self.renewal,
            Purpose.METERING,
            lambda nonce: self.renewal.client.report(self._make(receipts, nonce)),  # (2) (3)
        )
        return self.meter.acknowledge(reply.acknowledgement)  # (4)

    def _make(self, receipts: Sequence[SealedReceipt], nonce: bytes | None) -> MeteringReport:
        with self.tpm_lock, open_provisioned_tpm(self.tcti) as tpm:
            return make_report(self.renewal, tpm, receipts, nonce)


def make_report(
    renewal: Renewal, tpm: ProvisionedTpm, receipts: Sequence[SealedReceipt], nonce: bytes | None = None
) -> MeteringReport:
    """Step (2), for the network and for a file.

    Args:
        receipts: of :meth:`BoxMeter.export`, not empty.
        nonce: of the service; None for that of the stored lease, which reports may use again and again.
    """
    identity = renewal.identity
    chosen = nonce or next_nonce(renewal.store, tpm.lease_number(), renewal.release_id) or bytes(32)
    return MeteringReport(
        device_id=identity.device_id,
        license_id=identity.license_id,
        release_id=renewal.release_id,
        nonce=chosen,
        receipts=[one.content for one in receipts],
        evidence=evidence_for(renewal, tpm, chosen, Purpose.METERING, payload=document_bytes(head_of(receipts))),
    )


def read_point(tpm: ProvisionedTpm) -> Point:
    """Where the TPM stands on its axis."""
    clock = tpm.device.read_clock()
    ticks = read_counter(tpm.device, tpm.counters.ticks)
    return Point(reset_count=clock.reset_count, clock_ms=clock.clock_ms, ticks=ticks)
