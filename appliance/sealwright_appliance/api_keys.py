"""API keys: drawn here, kept as SHA-256. The gateway gets the hashes and compares (:mod:`.serve.keys`)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_policies.errors import SealwrightError, UsageError
from sealwright_policies.wire.encoding import Document, Identifier, Sha256Hex, document_bytes, parse_json

KEY_PREFIX = "sw-"
KEY_BYTES = 32
KEYS_MOST = 1000
FILE_LIMIT = 4 * 1024 * 1024
"""Bytes of as many keys as there may be, whose names and models are as long as they may be."""

KeyName = Annotated[str, Field(min_length=1, max_length=64)]
KeyModels = Annotated[list[Identifier], Field(min_length=1, max_length=32)]
KeyEnd = Annotated[int, Field(ge=0, lt=1 << 40)]
"""Seconds since the epoch, by the box's clock; with it the key lets nobody in."""


class ApiKeyError(SealwrightError):
    """What an administrator wants, or somebody who is none, cannot be."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class StoredKey(Document):
    """One key: 256 random bits, so a plain hash is as good as a slow one."""

    name: KeyName
    sha256: Sha256Hex
    admin: bool
    created: int
    """Seconds since the epoch, by the box's clock."""
    models: KeyModels | None = None
    """Which it may ask; None: all."""
    expires: KeyEnd | None = None
    """None: never."""


class KeyFile(Document):
    """``api-keys.json``, and the reply to ``GET /api-keys``."""

    keys: Annotated[list[StoredKey], Field(max_length=KEYS_MOST)]


def draw_api_key() -> str:
    """256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


class ApiKeys:
    """The key file. Safe to use from several threads."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._writing = threading.Lock()

    def load(self) -> KeyFile:
        """All keys."""
        content = read_file(self._path, FILE_LIMIT)
        return KeyFile(keys=[]) if content is None else parse_json(KeyFile, content, limit=FILE_LIMIT)

    def require_admin(self, key: str) -> None:
        """Demand an administrator's key: the gateway, which has the network, is not believed that it has seen one.

        Raises:
            ApiKeyError: it is none.
        """
        shown = _digest(key)
        admins = [held.sha256 for held in self.load().keys if held.admin]
        if not any(hmac.compare_digest(held, shown) for held in admins):
            raise ApiKeyError(403, "ADMIN_KEY_REQUIRED", "This needs an administrator's key.")

    def holds(self, name: str) -> bool:
        """Whether there is a key of this name."""
        return any(held.name == name for held in self.load().keys)

    def create(self, name: str, *, admin: bool, models: list[str] | None = None, expires: int | None = None) -> str:
        """Draw a key, keep its hash, return it.

        Raises:
            UsageError: the name is taken, there are too many keys, or its end is over; or an administrator's is to
                have an end or models: the last one could end, and nobody could make another.
        """
        if admin and (models is not None or expires is not None):
            raise UsageError("An administrator's key is for all models, and has no end.")
        if expires is not None and expires <= self._now():
            raise UsageError("The end of the key is over by the box's clock.")
        key = draw_api_key()
        with self._writing:
            self._add(name, key, admin=admin, models=models, expires=expires)
        return key

    def ensure(self, name: str, key: str, *, admin: bool) -> None:
        """Keep the hash of a key that was drawn before, unless it is kept already.

        Raises:
            UsageError: the name is another key's, or there are too many keys.
        """
        with self._writing:
            kept = {(held.name, held.sha256, held.admin) for held in self.load().keys}
            if (name, _digest(key), admin) not in kept:
                self._add(name, key, admin=admin)

    def revoke(self, name: str) -> None:
        """Forget a key; with the last administrator's, nobody could make or revoke one any more.

        Raises:
            ApiKeyError: there is none of this name, or it is that last one.
        """
        with self._writing:
            held = self.load().keys
            left = [key for key in held if key.name != name]
            if left == held:
                raise ApiKeyError(404, "UNKNOWN_API_KEY", f"There is no API key named {name!r}.")
            if not any(key.admin for key in left):
                sentence = f"{name!r} is the last administrator's key; make another before."
                raise ApiKeyError(409, "LAST_ADMIN_KEY", sentence)
            self._write(left)

    def _add(
        self, name: str, key: str, *, admin: bool, models: list[str] | None = None, expires: int | None = None
    ) -> None:
        held = self.load().keys
        if any(other.name == name for other in held):
            raise UsageError(f"There is an API key named {name!r} already.")
        if len(held) >= KEYS_MOST:
            raise UsageError(f"There are {KEYS_MOST} API keys already; no more can be kept.")
        made = StoredKey(
            name=name, sha256=_digest(key), admin=admin, created=int(self._now()), models=models, expires=expires
        )
        self._write([*held, made])

    def _write(self, keys: list[StoredKey]) -> None:
        write_durably(self._path, document_bytes(KeyFile(keys=keys)))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8")).hexdigest()
