"""Records that decide who is given shares, each signed when the service writes it (policies/spec/decisions.md, 4).

An enrolled device, an enrolment between its two steps, and a trusted root that is not in our list. So whoever can write
the database alone can bring in no TPM of his own. What this does not do: tell an old row of a device from its present
one, so he can move it back to a licence that it has left; vouch for a device's state, which changes with every renewal,
for licences or for codes. The audit does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, and_, select, update

from sealwright_licensing.actors import Actor
from sealwright_licensing.audit_judgements import RowPlace
from sealwright_licensing.journal import record_operation
from sealwright_licensing.keyring import load_keyring, load_service_files
from sealwright_licensing.logs import logger
from sealwright_licensing.maker_roots import is_listed
from sealwright_licensing.records import Device, DeviceStatus, MakerCertificate, PendingEnrollment
from sealwright_licensing.store import Store
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.envelope import load_ed25519_public_key
from sealwright_policies.wire.framing import framed_digest

S = TypeVar("S", Device, PendingEnrollment, MakerCertificate)

LABEL = "sealwright/v1/signed-record"
SIGNED: Mapping[type[Any], tuple[str, ...]] = {
    Device: (
        "device_id",
        "license_id",
        "tier",
        "tpm",
        "ek_certificate",
        "ak_public",
        "srk_public",
        "tick_counter_name",
        "lease_counter_name",
        "enrolled_at",
        "enrollment_id",
    ),
    PendingEnrollment: (
        "enrollment_id",
        "device_id",
        "license_id",
        "code_hash",
        "release_id",
        "tier",
        "tpm",
        "ek_certificate",
        "ek_public",
        "ak_public",
        "srk_public",
        "secret_hash",
        "nonce",
        "expires_at",
        "challenge",
    ),
    MakerCertificate: ("fingerprint", "tier", "encoded"),
}
"""Kinds that are signed, and their columns that do not change for as long as they are good."""


class UntrustedRecordError(OperationError):
    """A record in the database that this service has not written so."""


@dataclass(frozen=True, slots=True)
class SignedRecords:
    """Believes records by their signatures."""

    keys: tuple[bytes, ...]
    """Raw lease-document keys of the service, earlier ones as well."""

    def admit(self, record: object) -> None:
        """Refuse a record that none of the keys has signed.

        Kinds that are not signed pass, and so does what gives nobody anything: devices that are retired, intermediates;
        and roots of our own list.

        Raises:
            UntrustedRecordError: such a record stands in the database.
        """
        kind = type(record)
        if kind not in SIGNED or _needs_none(record) or self.has_signed(record):
            return
        name = _key_name(kind)
        sentence = f"{name} {getattr(record, name)[:16]} in the database is not as this service has written it"
        logger.error(sentence)
        raise UntrustedRecordError(
            f"{sentence}.", cure="Find out who wrote it. `device retire` takes such a device out of use."
        )

    def has_signed(self, record: Any) -> bool:
        """Whether one of the keys has signed a record of such a kind."""
        digest = _digest(record)
        return any(_is_signed(key, digest, record.signature) for key in self.keys)


def load_signed_records(folder: Path) -> SignedRecords:
    """By the public keys that a keyring's licence-service files name.

    Args:
        folder: ``keys/``.
    """
    files = load_service_files(folder, load_keyring(folder)).values()
    return signed_by([load_ed25519_public_key(file.lease_document_key) for file in files])


def signed_by(keys: Sequence[Ed25519PublicKey]) -> SignedRecords:
    """By these keys; the newest is asked first."""
    raw = (key.public_bytes(Encoding.Raw, PublicFormat.Raw) for key in reversed(keys))
    return SignedRecords(tuple(dict.fromkeys(raw)))


def sign_record(record: S, key: Ed25519PrivateKey) -> S:
    """The record with its signature."""
    return replace(record, signature=key.sign(_digest(record)))


def sign_stored_records(connection: Connection, key: Ed25519PrivateKey, judged: Set[RowPlace]) -> int:
    """Sign every record as it stands, in the upgrade from a schema that has no signatures; returns how many.

    Not devices that are retired, which need none.

    Args:
        judged: rows that persons have said of that they were written past the service.

    Raises:
        OperationError: one of them is to be signed.
    """
    count = 0
    for kind, names in SIGNED.items():
        table = TABLES[kind]
        query = select(*(table.c[name] for name in names))
        if kind is Device:
            query = query.where(table.c.status != DeviceStatus.RETIRED.value)
        for row in connection.execute(query).mappings().all():
            _require_unjudged((table.name, str(row[_key_name(kind)])), judged)
            signature = key.sign(_digest_of(kind, [row[name] for name in names]))
            here = and_(*(column == row[column.name] for column in table.primary_key))
            connection.execute(update(table).where(here).values(signature=signature))
            count += 1
    return count


def sign_anew(
    store: Store,
    actor: Actor,
    before: SignedRecords,
    left: SignedRecords,
    key: Ed25519PrivateKey,
    *,
    judged: Set[RowPlace],
    now: int,
) -> None:
    """Have the current key sign what only a key that is forgotten has signed; what nobody has signed is not signed now.

    Nor are devices that are retired, which need no signature.

    Args:
        store: believes every record.
        actor: who does it.
        before: by all keys of the service.
        left: without the one that is forgotten.
        key: the current one.
        judged: rows that persons have said of that they were written past the service.
        now: seconds since the epoch.

    Raises:
        OperationError: one of them is to be signed.
    """
    with store.write() as transaction:
        wanting = [
            record
            for kind in SIGNED
            for record in transaction.find(kind)
            if not _is_retired(record) and before.has_signed(record) and not left.has_signed(record)
        ]
        names = [(TABLES[type(one)].name, str(getattr(one, _key_name(type(one))))) for one in wanting]
        for name in names:
            _require_unjudged(name, judged)
        for record in wanting:
            transaction.put(sign_record(record, key))
        detail = {"records": len(wanting), "sha256": _digest_of_names(names)}
        if wanting:
            record_operation(transaction, actor=actor, operation="keys.sign-anew", subject="", detail=detail, now=now)


def _require_unjudged(place: RowPlace, judged: Set[RowPlace]) -> None:
    """Refuse to sign what was written past the service, for whoever judged it did not vouch for a signature over it."""
    if place in judged:
        raise OperationError(
            f"{' '.join(place)} would be signed, and a person has judged a finding of the audit about it.",
            cure="`audit verify` lists it. `device retire` such a device and enrol its box anew; or restore a backup "
            "from before.",
        )


def _is_retired(record: object) -> bool:
    return isinstance(record, Device) and record.status is DeviceStatus.RETIRED


def _key_name(kind: type[Any]) -> str:
    (key,) = TABLES[kind].primary_key
    return str(key.name)


def _digest_of_names(names: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of lines of table and key, sorted: an operation's detail does not grow with the fleet."""
    return hashlib.sha256("".join(f"{table} {key}\n" for table, key in sorted(names)).encode("utf-8")).hexdigest()


def _needs_none(record: object) -> bool:
    match record:
        case Device():
            return _is_retired(record)
        case MakerCertificate():
            return not record.tier or is_listed(record)
        case _:
            return False


def _digest(record: Any) -> bytes:
    return _digest_of(type(record), [getattr(record, name) for name in SIGNED[type(record)]])


def _digest_of(kind: type[Any], values: Sequence[str | int | bytes]) -> bytes:
    fields = (one if isinstance(one, bytes) else str(one).encode("utf-8") for one in values)
    return framed_digest(LABEL, TABLES[kind].name.encode("ascii"), *fields)


@lru_cache(maxsize=1 << 16)
def _is_signed(key: bytes, digest: bytes, signature: bytes) -> bool:
    """By content, so that a change is another entry; a renewal changes nothing of it."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)
    except InvalidSignature:
        return False
    return True
