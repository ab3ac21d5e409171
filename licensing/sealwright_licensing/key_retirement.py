"""Forgetting a key from before a rotation, when nothing needs it any more."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_custody.keeper import Keeper, fingerprint
from sealwright_licensing.actors import Actor
from sealwright_licensing.audit import audit
from sealwright_licensing.audit_judgements import RowPlace
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.custodian_keys import open_custodian
from sealwright_licensing.keyring import (
    CUSTODIANS,
    KeyEntry,
    Keyring,
    KeyRole,
    load_keyring,
    load_service_files,
    save_keyring,
)
from sealwright_licensing.keys import load_log_keys, open_entry
from sealwright_licensing.records import ReleaseRecord
from sealwright_licensing.rewrapping import count_unopened
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.signed_records import sign_anew, signed_by
from sealwright_licensing.store import Store
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.stored_releases import stored_release
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_policies.wire.envelope import load_ed25519_public_key, load_p256_public_key
from sealwright_policies.wire.service import LicenseService


def forget_key(folder: Path, keeper: Keeper, store: SqlStore, actor: Actor, named: str, *, now: int) -> KeyEntry:
    """Take an earlier key out of the keyring; the key itself stays where it is, for its keeper to destroy.

    Args:
        folder: ``keys/``.
        keeper: opens custodian keys.
        store: tells what still needs the key; believes every record.
        actor: who does it.
        named: the beginning of its fingerprint, 8 digits at least.
        now: seconds since the epoch.

    Raises:
        UsageError: no key or several, or the current one.
        OperationError: a share or a release still needs it, or it signs records and the log does not know them so.
    """
    keyring = load_keyring(folder)
    entry = _find(keyring, named)
    files = load_service_files(folder, keyring)
    dropped = [] if entry.role in CUSTODIANS else [one for one in files if _names(files[one], entry)]
    kept = keyring.model_copy(
        update={
            "keys": [one for one in keyring.keys if one != entry],
            "service_files": [one for one in keyring.service_files if one not in dropped],
        }
    )
    if entry.role in CUSTODIANS:
        _require_unneeded_custodian(kept, keeper, store, entry)
    else:
        _require_unneeded_files(store, list(files), dropped, entry)
    if entry.role is KeyRole.LOG:
        _retire_log_key(folder, keeper, store, files[keyring.service_files[-1]].service_id, entry)
    if entry.role is KeyRole.LEASE_DOCUMENT:
        judged = _audit_judged(folder, keeper, store, files[keyring.service_files[-1]].service_id)
        known = {name: load_ed25519_public_key(file.lease_document_key) for name, file in files.items()}
        left = signed_by([known[name] for name in kept.service_files])
        current = keyring.current(entry.role).fingerprint
        key = open_entry(keyring, keeper, entry.role, current)
        assert isinstance(key, Ed25519PrivateKey)  # noqa: S101 - by its role
        sign_anew(store, actor, signed_by(list(known.values())), left, key, judged=judged, now=now)
    save_keyring(folder, kept)
    return entry


def releases_of_files(store: Store, files: list[str], wanted: list[str]) -> list[ReleaseRecord]:
    """Releases, not withdrawn, whose images carry one of the wanted licence-service files.

    Args:
        store: the service's.
        files: all files, oldest first: an image that does not say which it carries has the oldest.
        wanted: some of them.
    """
    with store.read() as transaction:
        records = transaction.find(ReleaseRecord, withdrawn=False)
    return [one for one in records if (stored_release(one).manifest.service_file or files[0]) in wanted]


def _retire_log_key(folder: Path, keeper: Keeper, store: Store, service_id: str, entry: KeyEntry) -> None:
    """Have the log say that the key signs no more (transparency.md, 8), under a checkpoint that its successor signs.

    Before the keyring forgets it: what has been cut off is done again, and a second such entry changes nothing.
    """
    Sequencer(store, load_log_keys(folder, keeper), service_id).retire(entry.fingerprint)


def _audit_judged(folder: Path, keeper: Keeper, store: SqlStore, service_id: str) -> frozenset[RowPlace]:
    """Refuse to sign records anew that the log does not know so: whoever stole the old key could have written them.

    Returns:
        Rows that are not refused because a person has judged a finding about them, and must not be signed either.
    """
    keys = [key.public_key() for key in load_log_keys(folder, keeper)]
    with open_database_source(store.engine) as source:
        report = audit(source, keys, log_origin(service_id))
    if report.found:
        first = report.findings[0]
        raise OperationError(
            f"Forgetting this key signs anew what it has signed, and {first.place} is not as the log has it: "
            f"{first.sentence}.",
            cure="Run `audit verify`, find out who wrote it, and restore the database from the backup.",
        )
    return report.judged_rows()


def _find(keyring: Keyring, named: str) -> KeyEntry:
    found = [one for one in keyring.keys if one.fingerprint.startswith(named.lower())]
    if len(named) < 8 or len(found) != 1:
        raise UsageError(f"{named!r} names {len(found)} keys; give 8 digits or more of a fingerprint of `keys list`.")
    if found[0].current:
        raise UsageError(f"This is the current {found[0].role} key; rotate it first.")
    return found[0]


def _names(file: LicenseService, entry: KeyEntry) -> bool:
    match entry.role:
        case KeyRole.LEASE_DOCUMENT:
            return fingerprint(load_ed25519_public_key(file.lease_document_key)) == entry.fingerprint
        case KeyRole.LEASE_POLICY:
            return fingerprint(load_p256_public_key(file.lease_policy_key)) == entry.fingerprint
        case KeyRole.LOG:
            return fingerprint(load_ed25519_public_key(file.log_key)) == entry.fingerprint
        case KeyRole.DEVICE_CA | KeyRole.TLS_CA:
            pem = file.device_ca if entry.role is KeyRole.DEVICE_CA else file.ca
            key = x509.load_pem_x509_certificate(pem.encode("ascii")).public_key()
            return isinstance(key, ec.EllipticCurvePublicKey) and fingerprint(key) == entry.fingerprint
        case _:
            return False


def _require_unneeded_custodian(kept: Keyring, keeper: Keeper, store: Store, entry: KeyEntry) -> None:
    left = count_unopened(store, entry.role, open_custodian(kept, keeper, entry.role))
    if left:
        raise OperationError(
            f"{left} shares in the database are wrapped to this key.",
            cure="Run `keys rewrap` first.",
        )


def _require_unneeded_files(store: Store, files: list[str], dropped: list[str], entry: KeyEntry) -> None:
    needing = releases_of_files(store, files, dropped)
    if needing:
        listed = ", ".join(f"{one.product} {one.version} ({one.release_id[:16]})" for one in needing[:5])
        raise OperationError(
            f"Images of {len(needing)} releases know the service by this {entry.role} key: {listed}.",
            cure="Update their boxes, then withdraw these releases.",
        )
