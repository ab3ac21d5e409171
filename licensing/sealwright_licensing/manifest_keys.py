"""The manifest keys that the operator trusts: files in the service's folder, not rows of its database.

`release import --manifest-key` adds one. Every release, with the ways through PCR 4 that were added to it, is verified
with its key when it is read, so that whoever can write the database alone can neither change a release's reference
values nor bring in a release of his own. What this does not do: vouch for other records.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_custody.secret_file import write_secret
from sealwright_licensing.logs import logger
from sealwright_licensing.records import ReleaseRecord
from sealwright_licensing.stored_releases import verify_stored_release
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.wire.envelope import load_p256_public_key


class UntrustedReleaseError(OperationError):
    """A release in the database that is not to be believed: forged, or its manifest key is trusted no more."""


@dataclass(frozen=True, slots=True)
class ManifestKeys:
    """A folder of public keys, each named by its fingerprint."""

    folder: Path

    def trust(self, key: ec.EllipticCurvePublicKey) -> str:
        """Keep a key for good; returns its fingerprint.

        Raises:
            OperationError: the folder cannot be written.
        """
        fingerprint = key_fingerprint(key)
        path = self._path(fingerprint)
        try:
            if not path.exists():
                self.folder.mkdir(mode=0o700, exist_ok=True)
                partial = path.with_suffix(f".partial-{os.getpid()}")
                write_secret(partial, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
                partial.replace(path)
        except OSError as error:
            raise OperationError(
                f"{path} cannot be written: {error.strerror}.", cure="Check the disk's space and the folder's rights."
            ) from error
        return fingerprint

    def admit(self, record: object) -> None:
        """Refuse a release of which anything is not signed by its key, or whose key is not trusted; others pass.

        Raises:
            UntrustedReleaseError: such a release stands in the database.
        """
        if not isinstance(record, ReleaseRecord):
            return
        if not re.fullmatch(r"[0-9a-f]{64}", record.manifest_key):  # a path of somebody's choosing
            raise _untrusted(record)
        try:
            found = _verified_id(self._path(record.manifest_key), record.envelope, record.variants)
        except (OSError, SealwrightError) as error:
            raise _untrusted(record) from error
        if found != record.release_id:
            raise _untrusted(record)

    def _path(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.pem"


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of SubjectPublicKeyInfo in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@lru_cache(maxsize=64)
def _verified_id(key: Path, envelope: bytes, variants: str) -> str:
    trusted = load_p256_public_key(key.read_text("ascii", "replace"))
    return verify_stored_release(envelope, variants, trusted).release_id


def _untrusted(record: ReleaseRecord) -> UntrustedReleaseError:
    sentence = (
        f"Release {record.release_id[:16]} in the database, or a way through PCR 4 that was added to it, "
        "is not signed by a manifest key that is trusted"
    )
    logger.error(sentence)
    return UntrustedReleaseError(f"{sentence}.", cure="Find out who wrote it, then import the release again.")
