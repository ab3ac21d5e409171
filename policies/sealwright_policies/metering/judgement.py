"""What becomes of receipts that a box has proven (policies/spec/metering.md, 4): once, and never silently.

Pure: what is held of the chain is an argument. Whoever calls it stores the outcome in the transaction that read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sealwright_policies.errors import RejectionCode
from sealwright_policies.metering.receipt import Point, Receipt, SealedReceipt
from sealwright_policies.metering.report import MeteringFinding

HOUR_MS = 3_600_000
ENGINE_PLACES = 4
"""Requests that an engine has at once; ``busy_ms`` counts each."""
SPARE_TICKS = 2
"""A point may lie just behind one tick and the next just before another, and a tick may come late."""
UNMETERED_MS = HOUR_MS
UNMETERED_PER_RESET_MS = 15 * 60_000
"""Time in which the TPM's clock runs and the meter does not: firmware, unlocking, shutting down, a restarted agent."""


@dataclass(frozen=True, slots=True)
class HeldChain:
    """What is held of a chain."""

    sequence: int
    digest: str
    closed: Point
    disputed: bool = False
    """The whole chain is: it should not have begun."""


@dataclass(frozen=True, slots=True)
class JudgedReceipt:
    """A receipt to store."""

    sealed: SealedReceipt
    disputed: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is new, where the chain stands now, and what is odd."""

    new: tuple[JudgedReceipt, ...]
    head: HeldChain
    findings: tuple[MeteringFinding, ...]


def judge_receipts(
    receipts: Sequence[SealedReceipt],
    held: HeldChain | None,
    known: Mapping[str, bool],
    *,
    refused_start: str = "",
) -> Judgement:
    """Hold receipts, which follow each other, against what is held of their chain.

    Args:
        receipts: of one verified report, not empty.
        held: the chain, None if it is new.
        known: digests of stored receipts of this chain, as far as the receipts and the first's ``previous`` name
            them, and whether each is disputed.
        refused_start: why a new chain should not have begun; "" if it may.
    """
    state = _State(held, dict(known))
    for one in receipts:
        state.take(one, refused_start)
    assert state.head is not None  # noqa: S101 - there is at least one receipt
    return Judgement(tuple(state.new), state.head, tuple(state.findings))


class _State:
    def __init__(self, held: HeldChain | None, known: dict[str, bool]) -> None:
        self.head = held
        self.known = known
        self.new: list[JudgedReceipt] = []
        self.findings: list[MeteringFinding] = []

    def take(self, one: SealedReceipt, refused_start: str) -> None:
        if one.digest in self.known:
            return
        disputed = self._place(one, refused_start)
        self.known[one.digest] = disputed
        self.new.append(JudgedReceipt(one, disputed))
        self.findings += [*judge_plausibility(one.receipt), *copying_alarms(one.receipt)]

    def _place(self, one: SealedReceipt, refused_start: str) -> bool:
        """Put a receipt where it belongs; whether it is disputed."""
        receipt, head = one.receipt, self.head
        if head is None:
            if refused_start:
                self._found(RejectionCode.METERING_FORK, receipt, refused_start)
            elif receipt.sequence != 1:
                self._found(RejectionCode.METERING_GAP, receipt, _missing(1, receipt.sequence))
            self.head = HeldChain(receipt.sequence, one.digest, receipt.closed, disputed=bool(refused_start))
            return self.head.disputed
        follows = receipt.sequence == head.sequence + 1 and receipt.previous == head.digest
        if not follows and self.known.get(receipt.previous, False) and not head.disputed:
            return True  # goes on behind a fork that was found
        if not follows and receipt.sequence <= head.sequence + 1:
            sentence = f"Receipt {receipt.sequence} is another than the one held: the state volume was put back."
            self._found(RejectionCode.METERING_FORK, receipt, sentence)
            return True
        if not follows:
            self._found(RejectionCode.METERING_GAP, receipt, _missing(head.sequence + 1, receipt.sequence))
        elif receipt.opened != head.closed:
            sentence = f"Receipt {receipt.sequence} does not begin where the one before it ends."
            self._found(RejectionCode.METERING_GAP, receipt, sentence)
        self.head = replace(head, sequence=receipt.sequence, digest=one.digest, closed=receipt.closed)
        return head.disputed

    def _found(self, code: RejectionCode, receipt: Receipt, sentence: str) -> None:
        self.findings.append(MeteringFinding(code=code, sequence=receipt.sequence, sentence=sentence))


def judge_plausibility(receipt: Receipt) -> list[MeteringFinding]:
    """Hold a receipt's times against the TPM's axis: one finding for each code at most."""
    findings = []
    hours = receipt.closed.ticks - receipt.opened.ticks + SPARE_TICKS
    most_ms = hours * HOUR_MS
    if too_long := _more_than(receipt, most_ms):
        sentence = f"{too_long}, but the tick counter leaves room for {hours} hours."
        code = RejectionCode.METERING_IMPLAUSIBLE
        findings.append(MeteringFinding(code=code, sequence=receipt.sequence, sentence=sentence))
    resets = receipt.closed.reset_count - receipt.opened.reset_count
    unmetered_ms = receipt.closed.clock_ms - receipt.opened.clock_ms - receipt.running_ms
    if unmetered_ms > UNMETERED_MS + resets * UNMETERED_PER_RESET_MS:
        sentence = (
            f"The TPM's clock ran for {unmetered_ms // 60_000} minutes in which no meter did ({resets} resets): the "
            "machine ran another system, or the state volume was put back."
        )
        code = RejectionCode.METERING_GAP
        findings.append(MeteringFinding(code=code, sequence=receipt.sequence, sentence=sentence))
    return findings


def copying_alarms(receipt: Receipt) -> list[MeteringFinding]:
    """What the box has seen of its models being copied through their API: one finding for each model."""
    return [
        MeteringFinding(
            code=RejectionCode.METERING_COPYING,
            sequence=receipt.sequence,
            sentence=f"The use of {one.model} looked like copying it; so the box said, times: {one.copying_alarms}.",
        )
        for one in receipt.models
        if one.copying_alarms
    ]


def _more_than(receipt: Receipt, most_ms: int) -> str:
    """What claims more time than there was, in words; "" if nothing does."""
    if receipt.running_ms > most_ms:
        return f"The meter ran for {receipt.running_ms // 60_000} minutes"
    for one in receipt.models:
        busy_ms = sum(row.busy_ms for row in receipt.rows if row.model == one.model)
        if one.lease_ms > most_ms:
            return f"Model {one.model} was served for {one.lease_ms // 60_000} minutes"
        if busy_ms > ENGINE_PLACES * most_ms:
            return f"Requests had model {one.model} for {busy_ms // 60_000} minutes together"
    return ""


def _missing(first: int, found: int) -> str:
    which = f"Receipt {first} is" if found == first + 1 else f"Receipts {first} to {found - 1} are"
    return f"{which} missing."
