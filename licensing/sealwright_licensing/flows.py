"""Reports of flows between boxes (policies/spec/domain-flow.md, 9): verified like metering, stored once.

What is odd about a record is stored with it: refusing it would leave a box whose state volume was restored without
supervision for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealwright_licensing import journal
from sealwright_licensing.appraised_logs import keep_denied_logs
from sealwright_licensing.baselines import affirmed
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.flow_records import ReportedFlow
from sealwright_licensing.locks import device_name
from sealwright_licensing.metering import Held, appraise_report, look_up
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Device
from sealwright_licensing.store import Store, Transaction
from sealwright_licensing.stranger_denials import named_claims, record_stranger_denial
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
        self._nonces = nonces
        self._decisions = decisions or DecisionLimit()

    def report(self, report: FlowReport, *, now: int) -> FlowReply:
        """Take a report; one that was taken before changes nothing.

        (1) the records follow each other and end in the head, (2) device, licence and release are known, (3) the nonce
        is ours, (4) the evidence that carries the head is appraised, (5) what is new is stored.

        Raises:
            FormatError, UnsupportedError: the report cannot be read.
            VerificationError: the denial.
        """
        try:
            denial = self._take(report, now=now)
        except VerificationError as refused:
            claims = named_claims(report.device_id, report.license_id)
            record_stranger_denial(self._store, self._decisions, refused, purpose=Purpose.FLOW, claims=claims, now=now)
            raise
        if denial is not None:
            raise denial
        last = verify_records(report)[-1]
        return FlowReply(sequence=last.record.sequence, digest=last.digest)

    def _take(self, report: FlowReport, *, now: int) -> VerificationError | None:
        """Store it, or a denial that is recorded as the device's own.

        Raises:
            VerificationError: a denial of one who has not shown to be the device, or that has reported too often.
        """
        records = verify_records(report)  # (1)
        with self._store.read() as transaction:
            held = look_up(transaction, report)  # (2)
            others = {one.digest: _other(transaction, one) for one in records}
        result: AttestationResult | None = None
        try:
            if held.next_nonce is None:  # (3)
                self._nonces.verify(report.nonce, report.device_id, Purpose.FLOW, now=now)
            result = appraise_report(report, held, Purpose.FLOW, now=now)  # (4)
            affirmed(result)
        except VerificationError as denial:
            if result is None or not result.pcrs:
                raise
            self._record_denial(report, held, denial, result, now=now)
            return denial
        self._decisions.count(report.device_id, now=now)
        with self._store.write(device_name(report.device_id)) as transaction:
            _store(transaction, held.device, records, others, result, now=now)  # (5)
        return None

    def _record_denial(
        self, report: FlowReport, held: Held, denial: VerificationError, result: AttestationResult, *, now: int
    ) -> None:
        device = held.device
        self._decisions.count(device.device_id, now=now)
        with self._store.write(device_name(device.device_id)) as transaction:
            decision_id = journal.record_decision(
                transaction, device_id=device.device_id, license_id=device.license_id, purpose=Purpose.FLOW,
                denial=denial, result=result, now=now,
            )  # fmt: skip
            keep_denied_logs(transaction, device.device_id, decision_id, report.evidence)


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
