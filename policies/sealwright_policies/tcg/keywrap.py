"""Sealed objects made without a TPM, delivered as blobs for TPM2_Import (policies/spec/keywrap.md).

TPM 2.0 Library, Part 1, 23.3 (duplication): the inner wrapper is left out, for the outer one is to the attested SRK.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.protection import protect
from sealwright_policies.tcg.public import ObjectAttributes, Public, object_name
from sealwright_policies.tcg.reader import sized_2b

MAX_SECRET_SIZE = 128
"""MAX_SYM_DATA (Part 2, 11.1.14): the most that a sealed object holds."""

SEALED_ATTRIBUTES = ObjectAttributes.ADMIN_WITH_POLICY | ObjectAttributes.NO_DA
"""Not userWithAuth: an empty password must not unseal. Not fixedTPM or fixedParent: the object comes from outside."""


@dataclass(frozen=True, slots=True)
class ImportBlob:
    """TPM2B_PUBLIC, TPM2B_PRIVATE and TPM2B_ENCRYPTED_SECRET, the arguments of TPM2_Import."""

    public_2b: bytes
    duplicate_2b: bytes
    encrypted_seed_2b: bytes


def wrap_sealed_object(parent: Public, secret: bytes, auth_policy: bytes) -> ImportBlob:
    """Build a sealed object under ``auth_policy`` that only the TPM with ``parent`` (an SRK) can import.

    Args:
        parent: public area of the SRK; the caller has verified its template, Name and hierarchy.
        secret: 1 to 128 bytes.
        auth_policy: SHA-256 policy digest.
    """
    if not 1 <= len(secret) <= MAX_SECRET_SIZE:
        raise FormatError(f"a sealed object holds 1 to {MAX_SECRET_SIZE} bytes, not {len(secret)}")
    if len(auth_policy) != hashlib.sha256().digest_size:
        raise FormatError(f"a policy digest of {len(auth_policy)} bytes; SHA-256 has 32")
    obfuscation = secrets.token_bytes(hashlib.sha256().digest_size)  # seedValue: hides the secret in unique
    area = sealed_object_area(hashlib.sha256(obfuscation + secret).digest(), auth_policy)
    sensitive = (
        AlgorithmId.KEYEDHASH.to_bytes(2, "big") + sized_2b(b"") + sized_2b(obfuscation) + sized_2b(secret)
    )  # TPMT_SENSITIVE (Part 2, 12.3.2.4), no authValue
    protected = protect(parent, b"DUPLICATE", object_name(AlgorithmId.SHA256, area), sized_2b(sensitive))
    return ImportBlob(sized_2b(area), sized_2b(protected.wrapped), sized_2b(protected.encrypted_seed))


def sealed_object_area(unique: bytes, auth_policy: bytes) -> bytes:
    """Marshal the TPMT_PUBLIC of a sealed data object (Part 2, 12.2.3.3: keyed hash, no scheme)."""
    return (
        AlgorithmId.KEYEDHASH.to_bytes(2, "big")
        + AlgorithmId.SHA256.to_bytes(2, "big")
        + int(SEALED_ATTRIBUTES).to_bytes(4, "big")
        + sized_2b(auth_policy)
        + AlgorithmId.NULL.to_bytes(2, "big")
        + sized_2b(unique)
    )
