"""API keys: shown once, kept as SHA-256. The gateway gets the hashes and compares (:mod:`.serve.keys`)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_policies.errors import SealwrightError, UsageError
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json

KEY_PREFIX = "sw-"
KEY_BYTES = 32
KEYS_MOST = 1000
FILE_LIMIT = 1024 * 1024

KeyName = Annotated[str, Field(min_length=1, max_length=64)]


class AdminKeyError(SealwrightError):
    """What was shown is no administrator's key."""

    exit_code = 10


class StoredKey(Document):
    """One key: 256 random bits, so a plain hash is as good as a slow one."""

    name: KeyName
    sha256: Sha256Hex
    admin: bool


class KeyFile(Document):
    """``api-keys.json``, and the reply to ``GET /api-keys``."""

    keys: Annotated[list[StoredKey], Field(max_length=KEYS_MOST)]


class ApiKeys:
    """The key file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> KeyFile:
        """All keys."""
        content = read_file(self._path, FILE_LIMIT)
        return KeyFile(keys=[]) if content is None else parse_json(KeyFile, content, limit=FILE_LIMIT)

    def require_admin(self, key: str) -> None:
        """Demand an administrator's key: the gateway, which has the network, is not believed that it has seen one.

        Raises:
            AdminKeyError: it is none.
        """
        shown = hashlib.sha256(key.encode("utf-8")).hexdigest()
        admins = [held.sha256 for held in self.load().keys if held.admin]
        if not any(hmac.compare_digest(held, shown) for held in admins):
            raise AdminKeyError("This needs an administrator's key.")

    def create(self, name: str, *, admin: bool, replace: bool = False) -> str:
        """Draw a key, keep its hash, return it.

        Args:
            replace: whether a key of the same name gives way.

        Raises:
            UsageError: the name is taken, or there are too many keys.
        """
        key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        stored = StoredKey(name=name, sha256=hashlib.sha256(key.encode("ascii")).hexdigest(), admin=admin)
        held = self.load().keys
        others = [other for other in held if other.name != name]
        if len(others) < len(held) and not replace:
            raise UsageError(f"There is an API key named {name!r} already.")
        if len(others) >= KEYS_MOST:
            raise UsageError(f"There are {KEYS_MOST} API keys already; no more can be kept.")
        write_durably(self._path, document_bytes(KeyFile(keys=[*others, stored])))
        return key
