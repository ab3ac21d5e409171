"""Chains of metering receipts, and reports of them by a software device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sealwright_policies.domains.model import Counter, Metering
from sealwright_policies.metering.receipt import (
    ModelUsage,
    Point,
    Receipt,
    SealedReceipt,
    UsageRow,
    chain_start,
    seal_receipt,
)
from sealwright_policies.metering.report import MeteringReport, head_of
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.software_device import SoftwareDevice

HOUR_MS = 3_600_000
PARTITION = "5a" * 32
DEVICE = "d" * 52
LICENSE = "license-1"
CHAIN = "c0" * 16
OPENED_AT = 1_800_000_000
ALL_TOLD = Metering(counters=tuple(Counter), by_key=True)
"""Terms under which the service is told everything."""


def point(clock_ms: int, *, resets: int = 12, ticks: int | None = None) -> Point:
    """A point; as many ticks as hours unless they are given."""
    return Point(reset_count=resets, clock_ms=clock_ms, ticks=clock_ms // HOUR_MS if ticks is None else ticks)


def usage_row(alias: str = "key-a", **counts: int) -> UsageRow:
    """A row of the model ``medical``."""
    usual = {"requests": 1, "prompt_tokens": 10, "completion_tokens": 5, "busy_ms": 1000}
    return UsageRow(model="medical", alias=alias, **(usual | counts))


@dataclass
class ChainWriter:
    """Makes receipts that follow each other, each of an hour in which the model was served."""

    device_id: str = DEVICE
    license_id: str = LICENSE
    chain_id: str = CHAIN
    at: Point = field(default_factory=lambda: point(0))
    opened_at: int = OPENED_AT
    receipts: list[SealedReceipt] = field(default_factory=list)

    def next(self, *, hours: int = 1, rows: Sequence[UsageRow] | None = None, **changes: Any) -> SealedReceipt:
        """The next receipt; ``changes`` replace members, and what follows builds on them."""
        closed = Point(
            reset_count=self.at.reset_count,
            clock_ms=self.at.clock_ms + hours * HOUR_MS,
            ticks=self.at.ticks + hours,
        )
        last = self.receipts[-1] if self.receipts else None
        start = chain_start(self.chain_id, self.device_id, self.license_id)
        members: dict[str, Any] = {
            "version": 1,
            "device_id": self.device_id,
            "license_id": self.license_id,
            "chain_id": self.chain_id,
            "sequence": last.sequence + 1 if last else 1,
            "previous": last.digest if last else start,
            "lease_number": 1,
            "opened": self.at,
            "closed": closed,
            "opened_at": self.opened_at,
            "closed_at": self.opened_at + hours * 3600,
            "running_ms": hours * HOUR_MS,
            "models": [ModelUsage(model="medical", partition_id=PARTITION, lease_ms=hours * HOUR_MS, copying_alarms=0)],
            "rows": [usage_row()] if rows is None else list(rows),
        }
        sealed = seal_receipt(Receipt(**(members | changes)))
        self.receipts.append(sealed)
        self.at, self.opened_at = sealed.receipt.closed, sealed.receipt.closed_at
        return sealed

    def copy(self) -> ChainWriter:
        """As a state volume that is copied: both go on from here."""
        return ChainWriter(self.device_id, self.license_id, self.chain_id, self.at, self.opened_at, list(self.receipts))


def make_report(
    device: SoftwareDevice, license_id: str, nonce: bytes, receipts: Sequence[SealedReceipt], **changes: Any
) -> MeteringReport:
    """A report by a device's present state; ``changes`` are of its evidence."""
    payload = changes.pop("payload", document_bytes(head_of(receipts)))
    purpose = changes.pop("purpose", Purpose.METERING)
    bound = device.bound(nonce=nonce, license_id=license_id, purpose=purpose, payload=payload)
    return MeteringReport(
        device_id=device.device_id,
        license_id=license_id,
        release_id=device.box.release.release_id,
        nonce=nonce,
        receipts=[one.content for one in receipts],
        evidence=device.evidence(bound, **({"payload": payload} | changes)),
    )
