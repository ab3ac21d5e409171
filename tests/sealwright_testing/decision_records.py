"""Records of the licence service as JSON: what the store holds when a vector of ``decisions/`` begins.

A record's members are its fields; bytes are base64. ``common`` names a record of ``common/records.json`` whose members
it takes where it has none of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_type_hints

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_licensing.records import ReleaseRecord
from sealwright_licensing.release_proofs import enter_release
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.store import Store
from sealwright_licensing.tables import TABLES

KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in TABLES}
Members = dict[str, Any]


def members_of(record: Any) -> Members:
    """A record as JSON."""
    fields = asdict(record).items()
    return {name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in fields}


def records_json(records: Iterable[object], common: Mapping[str, object]) -> dict[str, list[Members]]:
    """Records by kind; those that are much like a common one say only what is different."""
    found: dict[str, list[Members]] = {}
    for record in records:
        members = members_of(record)
        for name, shared in common.items():
            base = members_of(shared)
            if type(shared) is type(record) and next(iter(base.values())) == next(iter(members.values())):
                members = {"common": name} | {key: value for key, value in members.items() if base[key] != value}
        found.setdefault(type(record).__name__, []).append(members)
    return found


def record_of(kind: type[Any], members: Members, common: Mapping[str, Members]) -> Any:
    """The way back."""
    given = dict(members)
    full = common[given.pop("common")] | given if "common" in given else given
    hints = get_type_hints(kind)
    return kind(**{name: base64.b64decode(value) if hints[name] is bytes else value for name, value in full.items()})


def fill(store: Store, records: Mapping[str, list[Members]], common: Mapping[str, Members]) -> None:
    """Put records into a store."""
    with store.write() as transaction:
        for kind, listed in records.items():
            for members in listed:
                transaction.add(record_of(KINDS[kind], members, common))


def log_releases(store: Store, keys: Sequence[Ed25519PrivateKey], service_id: str) -> None:
    """Have every release in the log, as its import leaves it."""
    with store.write() as transaction:
        for record in transaction.find(ReleaseRecord):
            enter_release(transaction, record.release_id, record.product, record.version)
    Sequencer(store, keys, service_id).run()
