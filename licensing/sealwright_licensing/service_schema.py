"""The schema of a service whose keyring says whether its records are signed (policies/spec/decisions.md, 4).

The database alone cannot say it: whoever writes there could take the signatures away, and the upgrade would sign what
he has planted.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from sealwright_licensing import schema
from sealwright_licensing.actors import Actor
from sealwright_licensing.keyring import load_keyring, save_keyring
from sealwright_licensing.keys import load_signing_keys
from sealwright_policies.errors import OperationError


def upgrade_service(keys: Path, engine: Engine, actor: Actor) -> int:
    """Bring the database to the newest schema; returns the number of records that were signed.

    Args:
        keys: the folder of the keyring.

    Raises:
        OperationError: the database refuses, or is from before records were signed and this service's records are.
    """
    found = schema.current_revision(engine)
    if load_keyring(keys).records_signed and found is not None and found < schema.SIGNED_SINCE:
        raise OperationError(
            f"The database has schema {found}, which has no signatures, and this service has signed its records: "
            "an upgrade would sign whatever stands there now.",
            cure="Find out who took it back. Restore database and keys/ from one backup, and upgrade that.",
        )
    signed = schema.upgrade(engine, actor, lambda: load_signing_keys(keys).lease_document)
    _note(keys, is_signed=True)
    return signed


def downgrade_service(keys: Path, engine: Engine, revision: str) -> None:
    """Take the database back; behind a schema without signatures the next upgrade signs what stands there then.

    Raises:
        UsageError, OperationError: as :func:`schema.downgrade`.
    """
    schema.downgrade(engine, revision)
    found = schema.current_revision(engine)
    if found is None or found < schema.SIGNED_SINCE:
        _note(keys, is_signed=False)


def _note(keys: Path, *, is_signed: bool) -> None:
    keyring = load_keyring(keys)
    if keyring.records_signed is not is_signed:
        save_keyring(keys, keyring.model_copy(update={"records_signed": is_signed}))
