"""What devices tell beside renewals: who reports, the evidence that carries a report, and what becomes of a denial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sealwright_licensing import journal
from sealwright_licensing.appraised_logs import keep_denied_logs
from sealwright_licensing.baselines import device_baseline
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.locks import device_name
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Device, NextNonce, ReleaseRecord
from sealwright_licensing.store import Store, Transaction
from sealwright_licensing.stored_releases import stored_release
from sealwright_licensing.stranger_denials import named_claims, record_stranger_denial
from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.messages import CounterNames, Evidence, Purpose

Taken = TypeVar("Taken")
Found = TypeVar("Found")


class Report(Protocol):
    """What a device tells beside renewals, with evidence that speaks for it."""

    @property
    def device_id(self) -> str:
        """Of the box."""

    @property
    def license_id(self) -> str:
        """Under which it is enrolled now."""

    @property
    def release_id(self) -> str:
        """That it runs."""

    @property
    def nonce(self) -> bytes:
        """Of the service."""

    @property
    def evidence(self) -> Evidence:
        """For the report's purpose."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the store knows of who reports."""

    device: Device
    record: ReleaseRecord
    next_nonce: NextNonce | None


@dataclass(frozen=True, slots=True)
class Reports:
    """Takes the reports of one purpose; a denial is recorded, as the device's own once its quote has spoken for it."""

    store: Store
    nonces: StatelessNonces
    decisions: DecisionLimit
    purpose: Purpose

    def take(self, report: Report, take: Callable[[], Taken | VerificationError], *, now: int) -> Taken:
        """What ``take`` comes to.

        A denial that it raises is recorded as a stranger's; one that it returns has been recorded already.

        Raises:
            VerificationError: the denial.
        """
        try:
            taken = take()
        except VerificationError as denial:
            claims = named_claims(report.device_id, report.license_id)
            record_stranger_denial(self.store, self.decisions, denial, purpose=self.purpose, claims=claims, now=now)
            raise
        if isinstance(taken, VerificationError):
            raise taken
        return taken

    def judge(
        self, report: Report, held: Held, require: Callable[[AttestationResult], Found], *, now: int
    ) -> tuple[AttestationResult, Found] | VerificationError:
        """The appraisal of a report with what ``require`` finds in it, or the denial, which has been recorded.

        Raises:
            VerificationError: a denial of one who has not shown to be the device, or that has reported too often.
        """
        result: AttestationResult | None = None
        try:
            if held.next_nonce is None:
                self.nonces.verify(report.nonce, report.device_id, self.purpose, now=now)
            result = _appraise(report, held, self.purpose, now=now)
            return result, require(result)
        except VerificationError as denial:
            if result is None or not result.pcrs:
                raise
            self._record_denial(report, held.device, denial, result, now=now)
            return denial

    def _record_denial(
        self, report: Report, device: Device, denial: VerificationError, result: AttestationResult, *, now: int
    ) -> None:
        self.decisions.count(device.device_id, now=now)
        with self.store.write(device_name(device.device_id)) as transaction:
            decision_id = journal.record_decision(
                transaction, device_id=device.device_id, license_id=device.license_id, purpose=self.purpose,
                denial=denial, result=result, now=now,
            )  # fmt: skip
            keep_denied_logs(transaction, device.device_id, decision_id, report.evidence)


def look_up(transaction: Transaction, report: Report) -> Held:
    """Also of a retired device: what it served counts."""
    device = transaction.get(Device, report.device_id)
    if device is None:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, "the device is not enrolled")
    if device.license_id != report.license_id:
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, "the device is enrolled under another licence")
    record = transaction.get(ReleaseRecord, report.release_id)
    if record is None:
        raise VerificationError(
            RejectionCode.RELEASE_UNKNOWN, f"release {report.release_id[:16]} has not been imported into this service"
        )
    return Held(device, record, transaction.get(NextNonce, device.device_id, report.nonce))


def _appraise(report: Report, held: Held, purpose: Purpose, *, now: int) -> AttestationResult:
    """Appraise a report's evidence as a renewal's, against the device's baseline, without a version floor."""
    device = held.device
    return appraise(
        report.evidence,
        ak=parse_public(device.ak_public),
        nonce=report.nonce,
        device_id=report.device_id,
        license_id=report.license_id,
        release=stored_release(held.record),
        purpose=purpose,
        baseline=device_baseline(device),
        counter_names=CounterNames(tick=device.tick_counter_name.hex(), lease=device.lease_counter_name.hex()),
        now=now,
    )
