"""API keys as the gateway knows them: SHA-256 hashes only, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sealwright_appliance.serve.errors import ApiError, invalid_key, unknown_model

KEY_FORM = re.compile(r"sw-[A-Za-z0-9_-]{43}")
"""``sw-`` and 32 random bytes in base64url."""
KEY_MEMBERS = frozenset({"name", "admin", "models", "expires"})
"""Of a request for a new one."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A named key; the key itself was shown once and is not kept."""

    name: str
    sha256: str
    admin: bool
    created: int
    """Seconds since the epoch."""
    models: Sequence[str] | None = None
    """Which it may ask; None: all."""
    expires: int | None = None
    """Seconds since the epoch, with which it lets nobody in; None: never."""

    def may_ask(self, model: str) -> bool:
        """Whether a model is for this key."""
        return self.models is None or model in self.models

    def described(self) -> dict[str, Any]:
        """What an administrator sees of it: all but the hash."""
        named = {"name": self.name, "admin": self.admin, "created": self.created}
        return named | {"models": self.models, "expires": self.expires}


def shown_key(header: str | None) -> str:
    """The key in an Authorization header.

    Raises:
        ApiError: 401, there is none of our form.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not KEY_FORM.fullmatch(token):
        raise invalid_key()
    return token


def authenticate(header: str | None, keys: Iterable[ApiKey], now: float) -> ApiKey:
    """The key that an Authorization header shows, unless its end is over.

    Raises:
        ApiError: 401.
    """
    shown = hashlib.sha256(shown_key(header).encode("ascii")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, shown)]
    if not found or (found[0].expires is not None and found[0].expires <= now):
        raise invalid_key()
    return found[0]


def require_admin(key: ApiKey) -> None:
    """Let only administrators on.

    Raises:
        ApiError: 403.
    """
    if not key.admin:
        raise ApiError(403, "admin_key_required", "This needs an administrator's key.")


def key_bounds(asked: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Models and end that a new key is to have.

    A member that is not known is refused: a bound whose name is misspelt would be none.

    Args:
        known: models of the box.

    Raises:
        ApiError: 400; 404, there is no such model.
    """
    if set(asked) - KEY_MEMBERS:
        raise ApiError(400, "unknown_parameter", f"A key has {', '.join(sorted(KEY_MEMBERS))}.")
    models, expires = asked.get("models"), asked.get("expires")
    if models is not None and (not isinstance(models, list) or not models):
        raise ApiError(400, "invalid_parameter", "models: a list of names of models.", param="models")
    if any(not isinstance(one, str) or one not in known for one in models or ()):
        raise unknown_model(sorted(known))
    if expires is not None and (not isinstance(expires, int) or isinstance(expires, bool)):
        raise ApiError(400, "invalid_parameter", "expires: seconds since 1970.", param="expires")
    return {"models": models, "expires": expires}
