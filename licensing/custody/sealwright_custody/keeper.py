"""Opens, makes and moves private keys wherever their locators say that they are kept.

One Keeper to a process: a token's login is the process's anyway. Tokens are imported when a locator names one, so that
a machine without any needs no PKCS#11 library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import CredentialLocator, FileLocator, KeyLocator, TokenLocator
from sealwright_custody.secret_file import read_secret_at, write_secret
from sealwright_policies.errors import OperationError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from sealwright_custody.token import Token

PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey


@dataclass
class Keeper:
    """Reads keys of locators; relative files are of one folder."""

    folder: Path
    try_pin: bool = False
    """Log in to tokens although they say that their last PIN was wrong."""
    _tokens: dict[TokenLocator, Token] = field(default_factory=dict, repr=False)

    def open_p256(self, locator: KeyLocator, kind: KeyKind = KeyKind.P256) -> ec.EllipticCurvePrivateKey:
        """A P-256 key to sign with or, of that kind, for ECDH.

        Raises:
            OperationError: it is not there, others can read it, or it is of another kind.
        """
        key = self._open(locator, kind)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _wrong_kind(locator, kind)
        return key

    def open_ed25519(self, locator: KeyLocator) -> Ed25519PrivateKey:
        """An Ed25519 key; raises as :meth:`open_p256`."""
        key = self._open(locator, KeyKind.ED25519)
        if not isinstance(key, Ed25519PrivateKey):
            raise _wrong_kind(locator, KeyKind.ED25519)
        return key

    def open(self, locator: KeyLocator, kind: KeyKind) -> PrivateKey:
        """A key of any kind."""
        return self.open_ed25519(locator) if kind is KeyKind.ED25519 else self.open_p256(locator, kind)

    def read_secret(self, locator: KeyLocator) -> bytes:
        """A secret that is not a key pair; only files and credentials hold such.

        Raises:
            OperationError: it is not there, or others can read it.
        """
        if isinstance(locator, TokenLocator):
            raise UsageError(f"{locator}: this secret is no key pair; keep it in a file or a credential.")
        return read_secret_at(locator, self.folder)

    def generate(self, locator: KeyLocator, kind: KeyKind) -> PrivateKey:
        """Make a key where the locator says; nothing is overwritten.

        Raises:
            OperationError: there is one already, or the keeper fails.
            UnsupportedError: the token has no such keys.
        """
        if isinstance(locator, TokenLocator):
            from sealwright_custody.token_key import generate_in_token  # noqa: PLC0415

            return generate_in_token(self.token(locator), kind)
        key: PrivateKey = (
            Ed25519PrivateKey.generate() if kind is KeyKind.ED25519 else ec.generate_private_key(ec.SECP256R1())
        )
        self._write(locator, private_pem(key))
        return key

    def put(self, locator: KeyLocator, kind: KeyKind, key: PrivateKey) -> PrivateKey:
        """Put a copy of a key that can be copied to another place.

        Raises:
            OperationError, UnsupportedError: it is in a token, or there is one of that name already.
        """
        if isinstance(locator, TokenLocator):
            from sealwright_custody.token_key import import_into_token  # noqa: PLC0415

            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise UnsupportedError("An Ed25519 key cannot be put into a token; make a new one inside it.")
            return import_into_token(self.token(locator), kind, key)
        self._write(locator, private_pem(key))
        return key

    def destroy(self, locator: KeyLocator) -> None:
        """Remove a key for good.

        Raises:
            OperationError, UsageError: it cannot be removed from here.
        """
        if isinstance(locator, TokenLocator):
            from sealwright_custody.token_key import destroy_in_token  # noqa: PLC0415

            destroy_in_token(self.token(locator))
        elif isinstance(locator, FileLocator):
            (self.folder / locator.path).unlink(missing_ok=True)
        else:
            raise UsageError(f"{locator}: remove the credential from the unit, and its file.")

    def can_hold(self, locator: TokenLocator, kind: KeyKind) -> bool:
        """Whether a token makes and uses keys of a kind."""
        from sealwright_custody.token_key import can_hold  # noqa: PLC0415

        return can_hold(self.token(locator), kind)

    def token(self, locator: TokenLocator) -> Token:
        """The token of a locator; the same for the same locator.

        Raises:
            UnsupportedError: python-pkcs11 is not installed.
        """
        try:
            from sealwright_custody.token import Token  # noqa: PLC0415
        except ImportError as error:
            raise UnsupportedError(
                "Keys in a PKCS#11 token need python-pkcs11: install sealwright-custody[pkcs11]."
            ) from error
        if locator not in self._tokens:
            self._tokens[locator] = Token(locator, self.folder, try_pin=self.try_pin)
        return self._tokens[locator]

    def close(self) -> None:
        """Give up the sessions of all tokens."""
        for token in self._tokens.values():
            token.close()

    def _open(self, locator: KeyLocator, kind: KeyKind) -> object:
        if isinstance(locator, TokenLocator):
            from sealwright_custody.token_key import open_token_key  # noqa: PLC0415

            return open_token_key(self.token(locator), kind)
        try:
            return load_pem_private_key(read_secret_at(locator, self.folder), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise OperationError(
                f"{self._place(locator)} is not a private key in PEM form.", cure="Restore it from the backup."
            ) from error

    def _write(self, locator: KeyLocator, data: bytes) -> None:
        if not isinstance(locator, FileLocator):
            raise UsageError(f"{locator}: systemd's credentials are made with systemd-creds, not here.")
        path = self.folder / locator.path
        try:
            write_secret(path, data)
        except FileExistsError as error:
            raise OperationError(f"{path} exists; no key is overwritten.", cure="Give another name.") from error
        except OSError as error:
            raise OperationError(f"{path} cannot be written: {error.strerror}.", cure="Check the folder.") from error

    def _place(self, locator: FileLocator | CredentialLocator) -> str:
        return str(self.folder / locator.path) if isinstance(locator, FileLocator) else str(locator)


def private_pem(key: PrivateKey) -> bytes:
    """PKCS #8, not encrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: PublicKey) -> str:
    """SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of SubjectPublicKeyInfo, hex: by what a key is known in lists and files."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _wrong_kind(locator: KeyLocator, kind: KeyKind) -> OperationError:
    return OperationError(f"{locator} is not {kind.words}.", cure="Restore it from the backup.")
