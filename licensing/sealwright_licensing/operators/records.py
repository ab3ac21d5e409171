"""What is remembered of operators. No token and no cookie: their hashes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token, known by its id and its hash."""

    token_id: str
    name: str
    role: str
    licenses: str
    """Licences that it is bound to, comma-separated; empty: none in particular."""
    token_hash: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class ApiTokenUse:
    """When a token was last used: nothing is decided by it, so it is not in the log."""

    token_id: str
    used_at: int


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """Somebody's session in a browser."""

    session_hash: str
    name: str
    role: str
    kind: str
    token_id: str
    """The token that it was begun with; it ends with that token. Empty with OIDC."""
    licenses: str
    created_at: int
    seen_at: int
    expires_at: int
    """At this time it ends whatever happens."""


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A change that an operator asked for under a key of his; the same request again changes nothing."""

    record_id: str
    """Digest of who asked and of his key."""
    request_hash: str
    """What was asked, so that another request under the same key is found out."""
    resource: str
    """Id of what was made or changed."""
    made_at: int
