"""TPM2_MakeCredential without a TPM (TPM 2.0 Library, Part 1, 24; Part 3, 12.6): binds an AK to an EK."""

from __future__ import annotations

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.algorithms import DIGEST_SIZES
from sealwright_policies.tcg.protection import protect
from sealwright_policies.tcg.public import Public
from sealwright_policies.tcg.reader import sized_2b


def make_credential(ek: Public, secret: bytes, ak_name: bytes) -> tuple[bytes, bytes]:
    """Encrypt ``secret`` so that only the TPM with ``ek`` opens it, and only while it holds the object ``ak_name``.

    Args:
        ek: public area of the EK; the caller has checked that it is the key in the EK certificate.
        secret: at most one digest of the EK's nameAlg (32 bytes).
        ak_name: Name of the AK.

    Returns:
        TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET for TPM2_ActivateCredential.
    """
    limit = DIGEST_SIZES.get(ek.name_alg, 0)
    if len(secret) > limit:
        raise FormatError(f"a credential of {len(secret)} bytes, the EK's limit is {limit}")
    protected = protect(ek, b"IDENTITY", ak_name, sized_2b(secret))
    return sized_2b(protected.wrapped), sized_2b(protected.encrypted_seed)
