"""The Attestation Key: its template, and the check that a public area has it.

The AK is a primary key of the Endorsement hierarchy: under Owner the TPM obfuscates resetCount, restartCount and
firmwareVersion in what it signs (Part 1, 36.7).
"""

from __future__ import annotations

from enum import StrEnum

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId, EccCurve
from sealwright_policies.tcg.public import ObjectAttributes, Public, Scheme
from sealwright_policies.tcg.reader import sized_2b

RSA_BITS = 2048


class KeyKind(StrEnum):
    """Kinds of asymmetric key that a box may make."""

    ECC_P256 = "ecc-p256"
    RSA_2048 = "rsa-2048"


AK_ATTRIBUTES = (
    ObjectAttributes.FIXED_TPM
    | ObjectAttributes.FIXED_PARENT
    | ObjectAttributes.SENSITIVE_DATA_ORIGIN
    | ObjectAttributes.USER_WITH_AUTH
    | ObjectAttributes.NO_DA
    | ObjectAttributes.RESTRICTED
    | ObjectAttributes.SIGN_ENCRYPT
)
"""Restricted signing key: the TPM signs with it only what it has said or hashed itself."""


def ak_template(kind: KeyKind = KeyKind.ECC_P256) -> bytes:
    """Return the TPMT_PUBLIC to give to TPM2_CreatePrimary under the Endorsement hierarchy."""
    if kind is KeyKind.ECC_P256:
        return key_area(kind, AK_ATTRIBUTES, symmetric=_NULL, scheme=_scheme(AlgorithmId.ECDSA))
    return key_area(kind, AK_ATTRIBUTES, symmetric=_NULL, scheme=_scheme(AlgorithmId.RSASSA))


def check_ak(public: Public) -> None:
    """Demand that a public area is an AK as :func:`ak_template` asks for, RSAPSS allowed beside RSASSA.

    Raises:
        VerificationError: AK_ATTRIBUTES, with every difference in ``details["differences"]``.
    """
    differences = []
    if public.attributes != AK_ATTRIBUTES:
        wrong = public.attributes ^ AK_ATTRIBUTES
        differences.append(f"attribute bits {wrong:#010x} differ ({wrong!r})")
    if public.auth_policy:
        differences.append("it has an authorisation policy")
    if public.name_alg != AlgorithmId.SHA256:
        differences.append("its nameAlg is not SHA-256")
    if public.symmetric is not None:
        differences.append("it names a symmetric cipher, so it is a storage key")
    if public.type is AlgorithmId.ECC:
        if public.curve is not EccCurve.NIST_P256:
            differences.append("its curve is not P-256")
        allowed = {AlgorithmId.ECDSA}
    elif public.type is AlgorithmId.RSA:
        if public.key_bits != RSA_BITS:
            differences.append(f"its modulus has {public.key_bits} bits, not {RSA_BITS}")
        allowed = {AlgorithmId.RSASSA, AlgorithmId.RSAPSS}
    else:
        differences.append("it is not an asymmetric key")
        allowed = set()
    if public.scheme not in {Scheme(algorithm, AlgorithmId.SHA256) for algorithm in allowed}:
        differences.append("its signing scheme is not ECDSA, RSASSA or RSAPSS with SHA-256")
    if differences:
        raise VerificationError(
            RejectionCode.AK_ATTRIBUTES,
            "the key is no attestation key of the listed kind: " + "; ".join(differences),
            differences=tuple(differences),
        )


_NULL = AlgorithmId.NULL.to_bytes(2, "big")


def _scheme(algorithm: AlgorithmId) -> bytes:
    return algorithm.to_bytes(2, "big") + AlgorithmId.SHA256.to_bytes(2, "big")


def key_area(
    kind: KeyKind,
    attributes: ObjectAttributes,
    *,
    symmetric: bytes,
    scheme: bytes = _NULL,
    unique: tuple[bytes, ...] | None = None,
) -> bytes:
    """Marshal a TPMT_PUBLIC with nameAlg SHA-256 and no policy; ``unique`` is all zeros where it is not given."""
    algorithm = AlgorithmId.ECC if kind is KeyKind.ECC_P256 else AlgorithmId.RSA
    head = (
        algorithm.to_bytes(2, "big")
        + AlgorithmId.SHA256.to_bytes(2, "big")
        + int(attributes).to_bytes(4, "big")
        + sized_2b(b"")
        + symmetric
        + scheme
    )
    if kind is KeyKind.ECC_P256:
        parameters = EccCurve.NIST_P256.to_bytes(2, "big") + _NULL
        parts = unique or (bytes(32), bytes(32))
    else:
        parameters = RSA_BITS.to_bytes(2, "big") + bytes(4)  # exponent 0: the default, 65537
        parts = unique or (bytes(RSA_BITS // 8),)
    return head + parameters + b"".join(sized_2b(part) for part in parts)
