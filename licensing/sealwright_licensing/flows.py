"""Reports of flows between boxes (policies/spec/domain-flow.md, 9): verified like metering, stored once.

What is odd about a record is stored with it: refusing it would leave a box whose state volume was restored without
supervision for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealwright_licensing import journal
from sealwright_licensing.baselines import affirmed
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.flow_records import ReportedFlow
from sealwright_licensing.locks import device_name
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Device
from sealwright_licensing.reports import Reports, look_up
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import FormatError, RejectionCode, UnsupportedError, VerificationError
from sealwright_policies.flows.record import FlowRole, SealedRecord, chain_start, verify_record_statement
from sealwright_policies.flows.report import FlowReply, FlowReport, verify_records
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.messages import Purpose

NOTHING_ODD = ""


class FlowService:
    """Takes reports."""

    def __init__(self, store: Store, nonces: StatelessNonces, decisions: DecisionLimit | None = None) -> None:
        self._store = store
        self._decisions = decisions or DecisionLimit()
        self._reports = Reports(store, nonces, self._decisions, Purpose.FLOW)

    def report(self, report: FlowReport, *, now: int) -> FlowReply:
        """Take a report; one that was taken before changes nothing.

        (1) the records follow each other and end in the head, (2) device, licence and release are known, (3) the nonce
        is ours, (4) the evidence that carries the head is appraised, (5) what is new is stored.

        Raises:
            FormatError, UnsupportedError: the report cannot be read.
            VerificationError: the denial.
        """
        return self._reports.take(report, lambda: self._answer(report, now=now), now=now)

    def _answer(self, report: FlowReport, *, now: int) -> FlowReply | VerificationError:
        """The acknowledgement, or a denial that is recorded as the device's own.

        Raises:
            VerificationError: a denial of one who has not shown to be the device, or that has reported too often.
        """
        records = verify_records(report)  # (1)
        with self._store.read() as transaction:
            held = look_up(transaction, report)  # (2)
            others = {one.digest: _other(transaction, one) for one in records}
        judged = self._reports.judge(report, held, affirmed, now=now)  # (3) (4)
        if isinstance(judged, VerificationError):
            return judged
        result, _ = judged
        self._decisions.count(report.device_id, now=now)
        with self._store.write(device_name(report.device_id)) as transaction:
            _store(transaction, held.device, records, others, result, now=now)  # (5)
        last = records[-1]
        return FlowReply(sequence=last.record.sequence, digest=last.digest)


def _other(transaction: Transaction, sealed: SealedRecord) -> Device | None:
    terms = sealed.terms
    side = terms.receiver if sealed.record.role is FlowRole.SENT else terms.sender
    return transaction.get(Device, side.device_id)


def _store(
    transaction: Transaction,
    device: Device,
    records: Sequence[SealedRecord],
    others: Mapping[str, Device | None],
    result: AttestationResult,
    *,
    now: int,
) -> None:
    """Store what is new; if anything is, that is a decision in the journal."""
    new = [one for one in records if _held(transaction, one, one.digest) is None]
    stored = [_row(transaction, one, others[one.digest], now=now) for one in _in_order(new)]
    if stored:
        journal.record_decision(
            transaction, device_id=device.device_id, license_id=device.license_id, purpose=Purpose.FLOW,
            denial=None, result=result, now=now,
        )  # fmt: skip


def _in_order(records: Sequence[SealedRecord]) -> Sequence[SealedRecord]:
    return sorted(records, key=lambda one: one.record.sequence)


def _row(transaction: Transaction, sealed: SealedRecord, other: Device | None, *, now: int) -> ReportedFlow:
    record, terms = sealed.record, sealed.terms
    side = terms.receiver if record.role is FlowRole.SENT else terms.sender
    made = ReportedFlow(
        device_id=record.device_id,
        license_id=record.license_id,
        digest=sealed.digest,
        sequence=record.sequence,
        role=record.role.value,
        flow_id=terms.flow_id,
        other_id=side.device_id,
        source=terms.sender.domain,
        target=terms.receiver.domain,
        form=terms.form.value,
        name=terms.name,
        file_digest=terms.digest,
        size=terms.size,
        finding=_finding(transaction, sealed, other),
        content=sealed.content,
        received_at=now,
    )
    transaction.add(made)
    return made


def _finding(transaction: Transaction, sealed: SealedRecord, other: Device | None) -> str:
    """What is odd: the record before it is not here, another has its number, or the other box has not said so."""
    record = sealed.record
    same_number = transaction.count(
        ReportedFlow, device_id=record.device_id, license_id=record.license_id, sequence=record.sequence
    )
    begins = record.previous == chain_start(record.device_id, record.license_id)
    if same_number or not (begins or _held(transaction, sealed, record.previous)):
        return RejectionCode.FLOW_CHAIN.value
    if other is None:
        return RejectionCode.DEVICE_UNKNOWN.value
    try:
        verify_record_statement(sealed, parse_public(other.ak_public))
    except (VerificationError, FormatError, UnsupportedError):
        return RejectionCode.FLOW_MISMATCH.value
    return NOTHING_ODD


def _held(transaction: Transaction, sealed: SealedRecord, digest: str) -> ReportedFlow | None:
    record = sealed.record
    return transaction.get(ReportedFlow, record.device_id, record.license_id, digest)
