"""Moves the key shares in the database to the current custodian keys, and tells what still needs an earlier key.

One partition to a transaction, each of which can be done again: a run that was cut off is completed by the next, and a
service that runs meanwhile opens shares of both keys. Shares are in the clear only inside these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealwright_licensing.actors import Actor
from sealwright_licensing.custodian import Custodian
from sealwright_licensing.journal import record_operation
from sealwright_licensing.keyring import KeyRole
from sealwright_licensing.records import ReleaseShares
from sealwright_licensing.store import Store
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares, WrappedShare
from sealwright_policies.errors import OperationError, VerificationError
from sealwright_policies.wire.custodian_wrap import ShareName, unwrap_share, wrap_share
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.messages import MESSAGE_LIMIT

SHARE_OF: dict[KeyRole, ShareName] = {
    KeyRole.CUSTODIAN_LEASE_SHARE: "lease",
    KeyRole.CUSTODIAN_RELEASE_SHARE: "release",
}


def rewrap_shares(store: Store, actor: Actor, role: KeyRole, keys: Sequence[Custodian], *, now: int) -> int:
    """Wrap one share of every partition to the current custodian key; returns how many were not yet.

    Args:
        store: the service's.
        actor: who does it.
        role: the custodian.
        keys: its keys, the current one first.
        now: seconds since the epoch.

    Raises:
        OperationError: a share that none of the keys opens.
    """
    changed = 0
    for release_id, partition_id in _partitions(store):
        with store.write() as transaction:
            record = transaction.get(ReleaseShares, release_id, partition_id)
            if record is None:
                continue
            before = _parse(record)
            after = _rewrapped(before, role, keys)
            if after != before:
                transaction.put(ReleaseShares(release_id, partition_id, after.model_dump_json()))
                record_operation(
                    transaction, actor=actor, operation="keys.rewrap", subject=release_id,
                    detail={"role": role.value, "partition_id": partition_id}, now=now,
                )  # fmt: skip
                changed += 1
    return changed


def count_unopened(store: Store, role: KeyRole, keys: Sequence[Custodian]) -> int:
    """Shares in the database that none of these keys opens."""
    with store.read() as transaction:
        records = transaction.find(ReleaseShares)
    return sum(_opened(_parse(one), role, keys) is None for one in records)


def _partitions(store: Store) -> list[tuple[str, str]]:
    with store.read() as transaction:
        return [(one.release_id, one.partition_id) for one in transaction.find(ReleaseShares)]


def _parse(record: ReleaseShares) -> PartitionWrappedShares:
    return parse_json(PartitionWrappedShares, record.wrapped.encode("ascii"), limit=MESSAGE_LIMIT)


def _rewrapped(shares: PartitionWrappedShares, role: KeyRole, keys: Sequence[Custodian]) -> PartitionWrappedShares:
    found = _opened(shares, role, keys)
    if found is None:
        raise OperationError(
            f"No {role} key opens the share of partition {shares.partition_id[:16]}.",
            cure="Restore the key that it was wrapped to, or withdraw the release and import it anew.",
        )
    key, clear = found
    if key is keys[0]:
        return shares
    name = SHARE_OF[role]
    partition_id = bytes.fromhex(shares.partition_id)
    wrapped = wrap_share(keys[0].public_key, clear, partition_id=partition_id, name=name)
    return shares.model_copy(update={f"{name}_share": wrapped})


def _opened(shares: PartitionWrappedShares, role: KeyRole, keys: Sequence[Custodian]) -> tuple[Custodian, bytes] | None:
    name = SHARE_OF[role]
    share: WrappedShare = getattr(shares, f"{name}_share")
    partition_id = bytes.fromhex(shares.partition_id)
    for key in keys:
        try:
            return key, unwrap_share(key.exchange, key.public_key, share, partition_id=partition_id, name=name)
        except VerificationError:
            continue
    return None
