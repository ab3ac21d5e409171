"""Sessions in a browser (policies/spec/operator-api.md, 4): held in the database, known to the browser by a cookie.

The cookie's value is stored as a hash. A session ends when nothing was asked in it for a while, at its absolute end, at
logout, and with the token that it was begun with.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, replace

from sealwright_licensing.actors import Actor, ActorKind
from sealwright_licensing.locks import EXPIRY, session_name
from sealwright_licensing.operators.errors import OperatorError, unauthenticated
from sealwright_licensing.operators.principals import Principal, PrincipalKind
from sealwright_licensing.operators.records import ApiToken, OperatorSession
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import is_good, token_principal
from sealwright_licensing.store import Store
from sealwright_policies.wire.framing import framed_digest

_SESSION_LABEL, _CSRF_LABEL = "sealwright/v1/operator-session", "sealwright/v1/operator-csrf"
_SECRET_SIZE = 32
SEEN_NOTED_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long sessions last, seconds."""

    idle_s: int
    absolute_s: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is good now."""

    principal: Principal
    session_hash: str
    csrf_token: str
    expires_at: int

    @property
    def actor(self) -> Actor:
        """Who the journal names for what is done in it."""
        return Actor(ActorKind.SESSION, self.principal.name)


def begin_session(store: Store, principal: Principal, *, limits: SessionLimits, now: int) -> str:
    """Begin a session; returns the cookie's value, which is stored nowhere."""
    secret = secrets.token_urlsafe(_SECRET_SIZE)
    record = OperatorSession(
        session_hash=_hash(secret),
        name=principal.name,
        role=principal.role.value,
        kind=principal.kind.value,
        token_id=principal.token_id,
        licenses=",".join(sorted(principal.licenses or ())),
        created_at=now,
        seen_at=now,
        expires_at=now + limits.absolute_s,
    )
    with store.write(EXPIRY) as transaction:
        transaction.delete_expired(OperatorSession, now)
    with store.write(session_name(record.session_hash)) as transaction:
        transaction.add(record)
    return secret


def find_session(store: Store, secret: str, *, limits: SessionLimits, now: int) -> Session:
    """The session of a cookie.

    Raises:
        OperatorError: UNAUTHENTICATED: none, or it is over.
    """
    digest = _hash(secret)
    with store.read() as transaction:
        record = transaction.get(OperatorSession, digest)
        token = transaction.get(ApiToken, record.token_id) if record and record.token_id else None
    if record is None or now >= record.expires_at or now - record.seen_at >= limits.idle_s:
        raise _over()
    if now - record.seen_at >= SEEN_NOTED_EVERY_S:
        with store.write(session_name(digest)) as transaction:
            if transaction.get(OperatorSession, digest) is None:  # logged out meanwhile
                raise _over()
            transaction.put(replace(record, seen_at=now))
    return Session(_principal(record, token, now), digest, csrf_token(secret), record.expires_at)


def end_session(store: Store, session: Session) -> None:
    """Log out."""
    with store.write(session_name(session.session_hash)) as transaction:
        transaction.delete(OperatorSession, session_hash=session.session_hash)


def csrf_token(secret: str) -> str:
    """What a form of this session carries. Whoever does not have the cookie's value cannot compute it."""
    return framed_digest(_CSRF_LABEL, secret.encode("utf-8", "replace")).hex()


def require_csrf_token(session: Session, given: str) -> None:
    """Refuse a change whose form was not made for this session.

    Raises:
        OperatorError: CROSS_SITE.
    """
    if not hmac.compare_digest(session.csrf_token.encode("ascii"), given.encode("utf-8", "replace")):
        raise OperatorError(403, "CROSS_SITE", "The form is not of this session; load the page again.")


def _principal(record: OperatorSession, token: ApiToken | None, now: int) -> Principal:
    if record.kind == PrincipalKind.TOKEN:
        if token is None or not is_good(token, now=now):
            raise _over()
        return token_principal(token)
    bound = frozenset(record.licenses.split(",")) if record.licenses else None
    return Principal(record.name, Role(record.role), PrincipalKind(record.kind), licenses=bound)


def _hash(secret: str) -> str:
    return framed_digest(_SESSION_LABEL, secret.encode("utf-8", "replace")).hex()


def _over() -> OperatorError:
    return unauthenticated("There is no such session, or it is over; log in.")
