"""Operations on metering (policies/spec/metering.md, 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sealwright_licensing.actors import Actor
from sealwright_licensing.journal import record_operation
from sealwright_licensing.metering_records import MeteringChain, MeteringReceipt, MeteringUsage
from sealwright_licensing.metering_usage import add_usage, usage_of
from sealwright_licensing.store import Store
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.metering.receipt import Receipt, parse_receipt

MOST_SETTLED = 500
"""Receipts that are settled at once: nobody else writes meanwhile, and a box can report more than fit into memory."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a word of the operator's has come to."""

    receipts: int
    """That it was about."""
    left: int
    """Disputed ones of the chain that it was not about; the same again is about these."""


def settle_chain(store: Store, actor: Actor, device_id: str, chain_id: str, *, count: bool, now: int) -> Settled:
    """The operator's word about a chain's disputed receipts, the newest first: they count, or they do not.

    Either way it is the last word about these receipts, and the chain goes on from the latest of them, so that what the
    box serves from now on counts, as soon as none is left.

    Raises:
        VerificationError: METERING_CHAIN, there is no such chain.
    """
    with store.write() as transaction:
        chain = transaction.get(MeteringChain, device_id, chain_id)
        if chain is None:
            raise VerificationError(RejectionCode.METERING_CHAIN, f"there is no chain {chain_id} of {device_id}")
        waiting: dict[str, Any] = {"device_id": device_id, "chain_id": chain_id, "disputed": True}
        found = transaction.find(MeteringReceipt, newest_first="sequence", limit=MOST_SETTLED, **waiting)
        settled = [(stored, parse_receipt(stored.content).receipt) for stored in found]
        add_usage(transaction, _moves(settled, count=count))
        for stored in found:
            transaction.put(replace(stored, disputed=False))
        left = transaction.count(MeteringReceipt, **waiting)
        transaction.put(replace(_moved_to(chain, settled), disputed=chain.disputed and left > 0))
        detail = {"chain_id": chain_id, "count": count, "receipts": len(found), "left": left}
        record_operation(
            transaction, actor=actor, operation="metering.settle", subject=device_id, detail=detail, now=now
        )
    return Settled(len(found), left)


def _moves(settled: Iterable[tuple[MeteringReceipt, Receipt]], *, count: bool) -> Iterator[MeteringUsage]:
    """Out of what is disputed, and into the totals if they count."""
    for stored, receipt in settled:
        yield from usage_of(receipt, disputed=True, received_at=stored.received_at, sign=-1)
        if count:
            yield from usage_of(receipt, disputed=False, received_at=stored.received_at)


def _moved_to(chain: MeteringChain, settled: Sequence[tuple[MeteringReceipt, Receipt]]) -> MeteringChain:
    held, head = (chain.reset_count, chain.clock_ms), chain
    for stored, receipt in reversed(settled):
        closed = receipt.closed
        if (closed.reset_count, closed.clock_ms) >= held:
            held = (closed.reset_count, closed.clock_ms)
            head = replace(
                head,
                sequence=stored.sequence,
                digest=stored.digest,
                reset_count=closed.reset_count,
                clock_ms=closed.clock_ms,
                ticks=closed.ticks,
            )
    return head
