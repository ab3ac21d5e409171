"""Metering reports (policies/spec/metering.md): verified like a renewal, stored once, counted by month.

A report is appraised before the database is locked; what becomes of its receipts is decided in the transaction that
stores them, so that two reports of one chain cannot both count.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sealwright_licensing import journal
from sealwright_licensing.baselines import affirmed
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.journal import drop_oldest
from sealwright_licensing.keys import SigningKeys
from sealwright_licensing.locks import device_name
from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain, MeteringReceipt
from sealwright_licensing.metering_usage import add_usage, usage_of
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Device
from sealwright_licensing.reports import Reports, look_up
from sealwright_licensing.store import Store, Transaction
from sealwright_licensing.stored_releases import stored_release
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import VerificationError
from sealwright_policies.metering.judgement import HeldChain, Judgement, judge_receipts
from sealwright_policies.metering.receipt import Point, SealedReceipt
from sealwright_policies.metering.report import (
    RECEIPTS_MOST,
    Acknowledgement,
    MeteringFinding,
    MeteringReply,
    MeteringReport,
    require_not_ahead,
    sign_acknowledgement,
    verify_receipts,
)
from sealwright_policies.wire.messages import Purpose

MOST_ALARMS, KEPT_ALARMS = 150, 100
"""Of one device: it must not be able to fill the disk."""


class MeteringService:
    """Takes reports."""

    def __init__(
        self, store: Store, keys: SigningKeys, nonces: StatelessNonces, decisions: DecisionLimit | None = None
    ) -> None:
        self._store = store
        self._keys = keys
        self._decisions = decisions or DecisionLimit()
        self._reports = Reports(store, nonces, self._decisions, Purpose.METERING)

    def report(self, report: MeteringReport, *, now: int) -> MeteringReply:
        """Take a report; one that was taken before changes nothing and gets an acknowledgement as well.

        (1) the receipts follow each other and end in the head, (2) device, licence and release are known, (3) the
        nonce is ours, (4) the evidence that carries the head is appraised, (5) no receipt is ahead of it, (6) what is
        new is stored and counted.

        Raises:
            FormatError, UnsupportedError: the report cannot be read.
            VerificationError: the denial.
        """
        return self._reports.take(report, lambda: self._answer(report, now=now), now=now)

    def _answer(self, report: MeteringReport, *, now: int) -> MeteringReply | VerificationError:
        """The acknowledgement, or a denial that is recorded as the device's own.

        Raises:
            VerificationError: a denial of one who has not shown to be the device, or that has reported too often.
        """
        receipts = verify_receipts(report)  # (1)
        with self._store.read() as transaction:
            held = look_up(transaction, report)  # (2)

        def require(result: AttestationResult) -> SigningKeys:
            shown = affirmed(result)
            point = Point(reset_count=shown.reset_count, clock_ms=shown.clock_ms, ticks=shown.ticks)
            require_not_ahead(receipts, point)  # (5)
            return self._keys.of(stored_release(held.record).manifest)

        judged = self._reports.judge(report, held, require, now=now)  # (3) (4)
        if isinstance(judged, VerificationError):
            return judged
        result, known = judged
        self._decisions.count(report.device_id, now=now)
        with self._store.write(device_name(report.device_id)) as transaction:
            findings = _store(transaction, held.device, receipts, result, now=now)  # (6)
        return _acknowledged(receipts[-1], findings, known)


def _acknowledged(last: SealedReceipt, findings: Sequence[MeteringFinding], keys: SigningKeys) -> MeteringReply:
    """By the key that the box's image knows."""
    acknowledgement = Acknowledgement(
        version=1,
        device_id=last.receipt.device_id,
        chain_id=last.receipt.chain_id,
        sequence=last.sequence,
        digest=last.digest,
        findings=list(findings[:RECEIPTS_MOST]),
    )
    return MeteringReply(acknowledgement=sign_acknowledgement(acknowledgement, keys.lease_document))


def _store(
    transaction: Transaction, device: Device, receipts: Sequence[SealedReceipt], result: AttestationResult, *, now: int
) -> tuple[MeteringFinding, ...]:
    """Store and count what is new; if anything is, that is a decision in the journal."""
    first = receipts[0].receipt
    chain = transaction.get(MeteringChain, first.device_id, first.chain_id)
    judgement = judge_receipts(
        receipts,
        _held(chain),
        _known(transaction, receipts),
        refused_start="" if chain else _refused_start(transaction, device, first.license_id),
    )
    for judged in judgement.new:
        receipt = judged.sealed.receipt
        transaction.add(
            MeteringReceipt(
                device_id=receipt.device_id,
                chain_id=receipt.chain_id,
                digest=judged.sealed.digest,
                sequence=receipt.sequence,
                license_id=receipt.license_id,
                content=judged.sealed.content,
                disputed=judged.disputed,
                received_at=now,
            )
        )
    add_usage(
        transaction,
        (
            line
            for one in judgement.new
            for line in usage_of(one.sealed.receipt, disputed=one.disputed, received_at=now)
        ),
    )
    if chain is None or judgement.new or judgement.findings:
        transaction.put(_chain(chain, device, first.license_id, first.chain_id, judgement, now=now))
        journal.record_decision(
            transaction,
            device_id=device.device_id,
            license_id=device.license_id,
            purpose=Purpose.METERING,
            denial=None,
            result=result,
            now=now,
        )
    _raise_alarms(transaction, device, first.license_id, first.chain_id, judgement, now=now)
    return judgement.findings


def _held(chain: MeteringChain | None) -> HeldChain | None:
    if chain is None:
        return None
    closed = Point(reset_count=chain.reset_count, clock_ms=chain.clock_ms, ticks=chain.ticks)
    return HeldChain(chain.sequence, chain.digest, closed, chain.disputed)


def _known(transaction: Transaction, receipts: Sequence[SealedReceipt]) -> dict[str, bool]:
    first = receipts[0].receipt
    wanted = {first.previous, *(one.digest for one in receipts)}
    found = (transaction.get(MeteringReceipt, first.device_id, first.chain_id, digest) for digest in sorted(wanted))
    return {one.digest: one.disputed for one in found if one is not None}


def _refused_start(transaction: Transaction, device: Device, license_id: str) -> str:
    """Why a new chain of this device should not have begun; "" if it may."""
    if license_id != device.license_id:
        return "A chain begins under a licence that is not the device's."
    if transaction.count(MeteringChain, device_id=device.device_id, enrollment_id=device.enrollment_id, disputed=False):
        return "A second chain begins, and no enrolment came between: the state volume was changed."
    return ""


def _chain(
    chain: MeteringChain | None, device: Device, license_id: str, chain_id: str, judgement: Judgement, *, now: int
) -> MeteringChain:
    head = judgement.head
    stands: dict[str, Any] = {
        "sequence": head.sequence,
        "digest": head.digest,
        "reset_count": head.closed.reset_count,
        "clock_ms": head.closed.clock_ms,
        "ticks": head.closed.ticks,
    }
    if chain is not None:
        return replace(chain, reported_at=now, **stands)
    return MeteringChain(
        device_id=device.device_id,
        chain_id=chain_id,
        license_id=license_id,
        enrollment_id=device.enrollment_id,
        begun_at=now,
        disputed=head.disputed,
        reported_at=now,
        **stands,
    )


def _raise_alarms(
    transaction: Transaction, device: Device, license_id: str, chain_id: str, judgement: Judgement, *, now: int
) -> None:
    for finding in judgement.findings:
        drop_oldest(
            transaction, MeteringAlarm, "raised_at", most=MOST_ALARMS, kept=KEPT_ALARMS, device_id=device.device_id
        )
        transaction.add(
            MeteringAlarm(
                alarm_id=secrets.token_hex(16),
                device_id=device.device_id,
                license_id=license_id,
                chain_id=chain_id,
                sequence=finding.sequence,
                code=finding.code.value,
                sentence=finding.sentence,
                raised_at=now,
            )
        )
