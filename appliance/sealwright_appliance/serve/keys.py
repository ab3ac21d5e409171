"""API keys as the gateway knows them: SHA-256 hashes only, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sealwright_appliance.serve.errors import ApiError, invalid_key

KEY_FORM = re.compile(r"sw-[A-Za-z0-9_-]{43}")
"""``sw-`` and 32 random bytes in base64url."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A named key; the key itself was shown once and is not kept."""

    name: str
    sha256: str
    admin: bool
    created: int
    """Seconds since the epoch."""

    def described(self) -> dict[str, Any]:
        """What an administrator sees of it: all but the hash."""
        return {"name": self.name, "admin": self.admin, "created": self.created}


def shown_key(header: str | None) -> str:
    """The key in an Authorization header.

    Raises:
        ApiError: 401, there is none of our form.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not KEY_FORM.fullmatch(token):
        raise invalid_key()
    return token


def authenticate(header: str | None, keys: Iterable[ApiKey]) -> ApiKey:
    """The key that an Authorization header shows.

    Raises:
        ApiError: 401.
    """
    shown = hashlib.sha256(shown_key(header).encode("ascii")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, shown)]
    if not found:
        raise invalid_key()
    return found[0]


def require_admin(key: ApiKey) -> None:
    """Let only administrators on.

    Raises:
        ApiError: 403.
    """
    if not key.admin:
        raise ApiError(403, "admin_key_required", "This needs an administrator's key.")
