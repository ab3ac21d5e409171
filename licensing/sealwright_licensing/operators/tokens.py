"""API tokens (policies/spec/operator-api.md, 2): made, recognised, listed, revoked.

``swl_<id>_<secret><checksum>``: the prefix and the checksum let scanners tell a token that has leaked from a word that
looks like one. The id finds the record; of the rest only a hash is stored.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import replace

from sealwright_licensing.actors import Actor
from sealwright_licensing.journal import record_operation
from sealwright_licensing.locks import token_name
from sealwright_licensing.operators.errors import OperatorError, unauthenticated
from sealwright_licensing.operators.principals import Principal, PrincipalKind
from sealwright_licensing.operators.records import ApiToken, ApiTokenUse, OperatorSession
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import License
from sealwright_licensing.store import Store, Transaction, query
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError
from sealwright_policies.wire.framing import framed_digest

PREFIX = "swl_"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID_SIZE, _SECRET_SIZE, _CHECKSUM_SIZE = 10, 52, 7
TOKEN = re.compile(rf"{PREFIX}([{_ALPHABET}]{{{_ID_SIZE}}})_[{_ALPHABET}]{{{_SECRET_SIZE + _CHECKSUM_SIZE}}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_LABEL = "sealwright/v1/api-token"
USE_NOTED_EVERY_S = 60
"""A token's last use is written so often at most: reading must not cost a write each time."""
DAY_S = 86_400


def create_token(
    store: Store,
    actor: Actor,
    name: str,
    role: Role,
    *,
    now: int,
    days: int | None = None,
    licenses: Iterable[str] = (),
) -> tuple[ApiToken, str]:
    """Make a token; returns it too, for it is stored nowhere.

    Raises:
        UsageError: no name for one, or another token that is still good has it.
        VerificationError: LICENSE_UNKNOWN.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a token: letters, digits, spaces and . _ @ -, at most 64.")
    token_id, token = new_token()
    record = ApiToken(
        token_id=token_id,
        name=name,
        role=role.value,
        licenses=",".join(sorted(set(licenses))),
        token_hash=token_hash(token),
        created_at=now,
        expires_at=None if days is None else now + days * DAY_S,
        revoked_at=None,
    )
    with store.write() as transaction:
        if any(is_good(one, now=now) for one in transaction.find(ApiToken, name=name)):
            raise UsageError(f"There is a token {name} already; revoke it first, or give another name.")
        for license_id in licenses:
            if transaction.get(License, license_id) is None:
                raise VerificationError(RejectionCode.LICENSE_UNKNOWN, f"there is no licence {license_id}")
        transaction.add(record)
        detail = {"name": name, "role": role.value, "licenses": record.licenses, "expires_at": record.expires_at}
        record_operation(transaction, actor=actor, operation="token.create", subject=token_id, detail=detail, now=now)
    return record, token


def authenticate_token(store: Store, token: str, *, now: int) -> Principal:
    """Whose token it is.

    Raises:
        OperatorError: UNAUTHENTICATED: no token of ours, revoked, or over.
    """
    shape = TOKEN.fullmatch(token)
    token_id = shape.group(1) if shape else ""
    with store.read() as transaction:
        records, uses = transaction.find_each(query(ApiToken, token_id=token_id), query(ApiTokenUse, token_id=token_id))
    record: ApiToken | None = records[0] if records else None
    # An unknown id takes as long as a wrong secret.
    expected = record.token_hash if record else token_hash("")
    if not hmac.compare_digest(token_hash(token), expected) or record is None:
        raise unauthenticated("The API token is not known.")
    if not is_good(record, now=now):
        raise unauthenticated("The API token was revoked or has expired.")
    if not uses or now - uses[0].used_at >= USE_NOTED_EVERY_S:
        with store.write(token_name(record.token_id)) as transaction:
            transaction.put(ApiTokenUse(record.token_id, now))
    return token_principal(record)


def revoke_token(store: Store, actor: Actor, token_id: str, *, now: int) -> ApiToken:
    """Let a token, and every session that was begun with it, in no more.

    Raises:
        OperatorError: NOT_FOUND.
    """
    with store.write() as transaction:
        record = known_token(transaction, token_id)
        if record.revoked_at is not None:
            return record
        revoked = replace(record, revoked_at=now)
        transaction.put(revoked)
        transaction.delete(OperatorSession, token_id=token_id)
        detail = {"name": record.name}
        record_operation(transaction, actor=actor, operation="token.revoke", subject=token_id, detail=detail, now=now)
    return revoked


def last_uses(transaction: Transaction, token_ids: Iterable[str]) -> dict[str, int]:
    """When tokens were last used, to the minute; those that never were are left out."""
    return transaction.newest_by(ApiTokenUse, "token_id", token_ids, order="used_at", wanted="used_at")


def known_token(transaction: Transaction, token_id: str) -> ApiToken:
    """The record of a token.

    Raises:
        OperatorError: NOT_FOUND.
    """
    record = transaction.get(ApiToken, token_id)
    if record is None:
        raise OperatorError(404, "NOT_FOUND", f"There is no token {token_id}.")
    return record


def is_good(record: ApiToken, *, now: int) -> bool:
    """Neither revoked nor over."""
    return record.revoked_at is None and (record.expires_at is None or now < record.expires_at)


def token_principal(record: ApiToken) -> Principal:
    """Whom a token stands for."""
    bound = frozenset(record.licenses.split(",")) if record.licenses else None
    return Principal(record.name, Role(record.role), PrincipalKind.TOKEN, record.token_id, bound)


def new_token() -> tuple[str, str]:
    """Draw a token: its id, and the whole of it."""
    token_id = _draw(_ID_SIZE)
    body = f"{PREFIX}{token_id}_{_draw(_SECRET_SIZE)}"
    return token_id, body + checksum(body)


def checksum(body: str) -> str:
    """CRC-32 of all before it, in base32: no secret, and no protection against anybody who can compute it."""
    encoded = base64.b32encode(zlib.crc32(body.encode("ascii")).to_bytes(4, "big")).decode("ascii")
    return encoded.rstrip("=").lower()[:_CHECKSUM_SIZE]


def token_hash(token: str) -> str:
    """What is stored of a token. A plain hash is enough: nobody searches 2²⁶⁰ values."""
    return framed_digest(_LABEL, token.encode("utf-8", "replace")).hex()


def _draw(size: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(size))
