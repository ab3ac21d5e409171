"""Seals of files of domains: what is told of a file was written by this box, of this file.

The folders are encrypted, which authenticates neither names nor places: whoever has the volume can put what lies in one
file of a domain in the place of another. A customer may choose what some files contain. policies/spec/domain-key.md, 4.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_appliance.file_encryption import nonce_of
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.framing import DOMAIN_DATE_LABEL, DOMAIN_FILE_LABEL, DOMAIN_SEAL_KEY_LABEL, framed

KEY_SIZE = SEAL_SIZE = 32
"""Bytes."""


class Stage(StrEnum):
    """How far a file has come."""

    BEGUN = "begun"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class FileSeals:
    """HMAC-SHA256 under a key of the box."""

    key: bytes = field(repr=False)

    def of(self, stage: Stage, about: bytes, text: bytes, content: Path) -> bytes:
        """Seal of a file and of the one content that the kernel decrypts in its place, as far as it has come.

        Raises:
            OperationError: there is no such content.
        """
        return self._seal(DOMAIN_FILE_LABEL, stage.value.encode("ascii"), about, text, nonce_of(content))

    def of_date(self, about: bytes, at: int) -> bytes:
        """Seal of the day from which a file's days count."""
        return self._seal(DOMAIN_DATE_LABEL, about, at.to_bytes(8, "big"))

    def _seal(self, label: str, *fields: bytes) -> bytes:
        return hmac.digest(self.key, framed(label, *fields), "sha256")


def is_seal(found: bytes, expected: bytes) -> bool:
    """Whether they are the same."""
    return hmac.compare_digest(found, expected)


def seal_key(domain_key: bytes) -> bytes:
    """Key of the seals of a box, 32 bytes."""
    info = framed(DOMAIN_SEAL_KEY_LABEL)
    return HKDF(algorithm=SHA512(), length=KEY_SIZE, salt=None, info=info).derive(domain_key)


def leave_seals(paths: Paths, domain_key: bytes) -> FileSeals:
    """Seals of a boot that has opened the folders of domains; the agent gets the key, which no disk has.

    Raises:
        OperationError: it cannot be written.
    """
    seals = FileSeals(seal_key(domain_key))
    write_durably(paths.domain_seal_key, seals.key)
    return seals


def left_seals(paths: Paths) -> FileSeals | None:
    """What :func:`leave_seals` has left; None if it has not.

    Raises:
        OperationError: it cannot be read.
    """
    key = read_file(paths.domain_seal_key, KEY_SIZE)
    if key is not None and len(key) != KEY_SIZE:
        raise OperationError(f"{paths.domain_seal_key} is no key.")
    return None if key is None else FileSeals(key)
