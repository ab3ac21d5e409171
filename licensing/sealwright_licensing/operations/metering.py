"""Operations on metering (policies/spec/metering.md, 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sealwright_licensing.actors import Actor
from sealwright_licensing.journal import record_operation
from sealwright_licensing.metering_records import MeteringChain, MeteringReceipt
from sealwright_licensing.metering_usage import add_usage
from sealwright_licensing.store import Store
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.metering.receipt import parse_receipt


def settle_chain(store: Store, actor: Actor, device_id: str, chain_id: str, *, count: bool, now: int) -> int:
    """The operator's word about a chain's disputed receipts: they count, or they do not. Returns how many there were.

    Either way it is the last word about these receipts, and the chain goes on from the latest of them, so that what the
    box serves from now on counts.

    Raises:
        VerificationError: METERING_CHAIN, there is no such chain.
    """
    with store.write() as transaction:
        chain = transaction.get(MeteringChain, device_id, chain_id)
        if chain is None:
            raise VerificationError(RejectionCode.METERING_CHAIN, f"there is no chain {chain_id} of {device_id}")
        disputed = transaction.find(MeteringReceipt, device_id=device_id, chain_id=chain_id, disputed=True)
        for stored in disputed:
            receipt = parse_receipt(stored.content).receipt
            add_usage(transaction, receipt, disputed=True, received_at=stored.received_at, sign=-1)
            if count:
                add_usage(transaction, receipt, disputed=False, received_at=stored.received_at)
            transaction.put(replace(stored, disputed=False))
        transaction.put(_moved_to(chain, disputed))
        detail = {"chain_id": chain_id, "count": count}
        record_operation(
            transaction, actor=actor, operation="metering.settle", subject=device_id, detail=detail, now=now
        )
    return len(disputed)


def _moved_to(chain: MeteringChain, disputed: Iterable[MeteringReceipt]) -> MeteringChain:
    held = (chain.reset_count, chain.clock_ms)
    head = replace(chain, disputed=False)
    for stored in disputed:
        closed = parse_receipt(stored.content).receipt.closed
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
