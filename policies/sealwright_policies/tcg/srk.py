"""The Storage Root Key: the listed templates, and the check that a public area has one of them.

Templates of the TCG TPM v2.0 Provisioning Guidance 1.0, 7.5.1 (attributes, AES-128-CFB, empty policy) with noDA. A
secret is wrapped to the SRK, so anything that could be exported, used under another policy or taken for another object
is refused by comparing bytes.
"""

from __future__ import annotations

from enum import StrEnum

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.public import ObjectAttributes, Public
from sealwright_policies.tcg.templates import KeyKind, key_area

SRK_ATTRIBUTES = (
    ObjectAttributes.FIXED_TPM
    | ObjectAttributes.FIXED_PARENT
    | ObjectAttributes.SENSITIVE_DATA_ORIGIN
    | ObjectAttributes.USER_WITH_AUTH
    | ObjectAttributes.NO_DA
    | ObjectAttributes.RESTRICTED
    | ObjectAttributes.DECRYPT
)

_AES_128_CFB = b"".join(value.to_bytes(2, "big") for value in (AlgorithmId.AES, 128, AlgorithmId.CFB))


class SrkTemplate(StrEnum):
    """Names of the listed templates."""

    ECC_P256 = KeyKind.ECC_P256
    RSA_2048 = KeyKind.RSA_2048


def srk_template(template: SrkTemplate = SrkTemplate.ECC_P256) -> bytes:
    """Return the TPMT_PUBLIC to give to TPM2_CreatePrimary under the Owner hierarchy (``unique`` all zeros)."""
    return key_area(KeyKind(template.value), SRK_ATTRIBUTES, symmetric=_AES_128_CFB)


def matches_listed_template(public: Public) -> SrkTemplate:
    """Return the template whose bytes ``public`` has in everything but ``unique``.

    Raises:
        VerificationError: SRK_TEMPLATE if it has none of them.
    """
    for template in SrkTemplate:
        kind = KeyKind(template.value)
        # A unique of another length than the template's would move the end of the area, so lengths are compared too.
        expected = key_area(kind, SRK_ATTRIBUTES, symmetric=_AES_128_CFB, unique=public.unique)
        if public.area == expected and len(expected) == len(srk_template(template)):
            return template
    raise VerificationError(
        RejectionCode.SRK_TEMPLATE,
        "the storage key has none of the listed templates (P-256 or RSA-2048, AES-128-CFB, noDA, no policy)",
    )
