"""The schema of a service whose keyring says whether its records are signed (policies/spec/decisions.md, 4).

The database alone cannot say it: whoever writes there could take the signatures away, and the upgrade would sign what
he has planted.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from sealwright_licensing import schema
from sealwright_licensing.actors import Actor
from sealwright_licensing.audit_keys import load_audit_keys, service_files
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.keyring import load_keyring, save_keyring
from sealwright_licensing.keys import load_signing_keys
from sealwright_policies.errors import OperationError


def upgrade_service(folder: ServiceFolder, engine: Engine, actor: Actor) -> schema.Migration:
    """Bring the database to the newest schema.

    Raises:
        VerificationError: AUDIT_MISMATCH: its rows are not as the log has them.
        OperationError: as :func:`schema.upgrade`; or it is from before records were signed and this service's are.
    """
    found = schema.current_revision(engine)
    if load_keyring(folder.keys).records_signed and found is not None and found < schema.SIGNED_SINCE:
        raise OperationError(
            f"The database has schema {found}, which has no signatures, and this service has signed its records: "
            "an upgrade would sign whatever stands there now.",
            cure="Find out who took it back. Restore database and keys/ from one backup, and upgrade that.",
        )
    done = schema.upgrade(engine, migrator(folder, actor))
    _note(folder.keys, is_signed=True)
    return done


def downgrade_service(folder: ServiceFolder, engine: Engine, revision: str, actor: Actor) -> schema.Migration:
    """Take the database back; behind a schema without signatures the next upgrade signs what stands there then.

    Raises:
        SealwrightError: as :func:`schema.downgrade`.
    """
    done = schema.downgrade(engine, revision, migrator(folder, actor))
    found = schema.current_revision(engine)
    if found is None or found < schema.SIGNED_SINCE:
        _note(folder.keys, is_signed=False)
    return done


def migrator(folder: ServiceFolder, actor: Actor) -> schema.Migrator:
    """Somebody who migrates a service's database, with the keys of its folder."""
    keys = load_audit_keys(service_files(folder.path))
    return schema.Migrator(actor, keys, lambda: load_signing_keys(folder.keys).lease_document)


def _note(keys: Path, *, is_signed: bool) -> None:
    keyring = load_keyring(keys)
    if keyring.records_signed is not is_signed:
        save_keyring(keys, keyring.model_copy(update={"records_signed": is_signed}))
