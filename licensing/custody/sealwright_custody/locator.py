"""Key locators (policies/spec/custody.md, 1): one line that says where a private key is kept. Pure.

``file:NAME``, ``credential:NAME`` of systemd, or a PKCS #11 URI (RFC 7512). No locator holds a secret: a PIN inside
one is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from sealwright_policies.errors import UsageError

LONGEST = 1024
_PATH_ATTRIBUTES = frozenset({"token", "object", "id", "type"})
_QUERY_ATTRIBUTES = frozenset({"module-path", "pin-source"})
_CREDENTIAL = re.compile(r"[A-Za-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class FileLocator:
    """A file that its owner alone can read; a relative path is of the folder that the reader names."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


@dataclass(frozen=True, slots=True)
class CredentialLocator:
    """A credential that systemd hands to the unit (systemd.exec(5), LoadCredentialEncrypted=)."""

    name: str

    def __str__(self) -> str:
        return f"credential:{self.name}"


SecretLocator = FileLocator | CredentialLocator


@dataclass(frozen=True, slots=True)
class TokenLocator:
    """A private key in a PKCS#11 token, by its label, its id, or both; with neither it stands for the token."""

    module: Path
    token: str
    pin: SecretLocator
    label: str = ""
    key_id: bytes = b""

    def __str__(self) -> str:
        path = [f"token={_encoded(self.token)}"]
        path += [f"object={_encoded(self.label)}"] if self.label else []
        path += ["id=" + "".join(f"%{octet:02X}" for octet in self.key_id)] if self.key_id else []
        query = [f"module-path={_encoded(str(self.module), '/')}", f"pin-source={_encoded(str(self.pin), '/:')}"]
        return f"pkcs11:{';'.join(path)}?{'&'.join(query)}"


KeyLocator = FileLocator | CredentialLocator | TokenLocator


def parse_locator(text: str) -> KeyLocator:
    """Parse a locator.

    Raises:
        UsageError: it is none, or holds a PIN.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or len(text) > LONGEST or not text.isprintable():
        raise UsageError(f"{text[:80]!r} does not say where a key is kept; expected file:, credential: or pkcs11:.")
    if scheme == "pkcs11":
        return _parse_uri(text, rest)
    return _parse_secret(text, scheme, rest)


def _parse_secret(text: str, scheme: str, rest: str) -> SecretLocator:
    if scheme == "file" and rest:
        return FileLocator(Path(rest))
    if scheme == "credential":
        if not _CREDENTIAL.fullmatch(rest) or rest in (".", ".."):
            raise UsageError(f"{text}: a credential is called by letters, digits, '.', '_' and '-'.")
        return CredentialLocator(rest)
    raise UsageError(f"{text[:80]}: expected file:PATH, credential:NAME or a pkcs11: URI.")


def _parse_uri(text: str, rest: str) -> TokenLocator:
    path, _, query = rest.partition("?")
    attributes = _attributes(path, ";", _PATH_ATTRIBUTES) | _attributes(query, "&", _QUERY_ATTRIBUTES)
    for needed in ("token", "module-path", "pin-source"):
        if not attributes.get(needed):
            raise UsageError(f"{text[:80]}: {needed} is missing; see RFC 7512 and docs/key-custody.md.")
    if attributes.get("type", b"private") != b"private":
        raise UsageError(f"{text[:80]}: type must be private.")
    source = _text(attributes["pin-source"])
    scheme, colon, name = source.partition(":")
    return TokenLocator(
        module=Path(_text(attributes["module-path"])),
        token=_text(attributes["token"]),
        pin=_parse_secret(source, scheme, name) if colon else FileLocator(Path(source)),
        label=_text(attributes.get("object", b"")),
        key_id=attributes.get("id", b""),
    )


def _attributes(part: str, separator: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in part.split(separator) if part else []:
        name, _, value = item.partition("=")
        if name == "pin-value":  # RFC 7512, 2.4 defines it; configuration and argv are for everybody to read
            raise UsageError("A PIN must not stand in a pkcs11: URI; write it to a file and give pin-source=file:PATH.")
        if name not in known or name in found:
            raise UsageError(f"pkcs11: URI: {name[:40]!r} is not known here, or stands twice.")
        found[name] = unquote_to_bytes(value)
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("pkcs11: URI: a value is not UTF-8.") from error


def _encoded(value: str, safe: str = "") -> str:
    return quote(value, safe=safe)
