"""Policy digests of enhanced authorisation, computed without a TPM (TPM 2.0 Library, Part 1, 19.7; Part 3, 23).

Each ``policy_`` function takes the digest so far and returns the next one, as the TPM command of that name does to a
policy session whose hash is SHA-256. Start with :data:`EMPTY_POLICY`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from sealwright_policies.errors import RejectionCode, UnsupportedError, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.pcr import selection_bytes
from sealwright_policies.tcg.public import ObjectAttributes, Public, parse_public
from sealwright_policies.tcg.signature import EcdsaSignature, parse_signature, sign_digest
from sealwright_policies.tcg.templates import KeyKind, key_area

EMPTY_POLICY = bytes(32)
"""policyDigest of a session just begun."""


class CommandCode(IntEnum):
    """TPM_CC (Part 2, 6.5.2), those that a policy names."""

    NV_INCREMENT = 0x00000134
    POLICY_NV = 0x00000149
    UNSEAL = 0x0000015E
    POLICY_AUTHORIZE = 0x0000016A
    POLICY_COMMAND_CODE = 0x0000016C
    POLICY_COUNTER_TIMER = 0x0000016D
    POLICY_PCR = 0x0000017F


class Operation(IntEnum):
    """TPM_EO (Part 2, 6.8): how the TPM's value (left) is compared with the operand (right)."""

    EQ = 0x0000
    NEQ = 0x0001
    SIGNED_GT = 0x0002
    UNSIGNED_GT = 0x0003
    SIGNED_LT = 0x0004
    UNSIGNED_LT = 0x0005
    SIGNED_GE = 0x0006
    UNSIGNED_GE = 0x0007
    SIGNED_LE = 0x0008
    UNSIGNED_LE = 0x0009
    BITSET = 0x000A
    BITCLEAR = 0x000B


class TimeInfoOffset(IntEnum):
    """Byte offsets of the fields of TPMS_TIME_INFO (Part 2, 10.11.6), for PolicyCounterTimer."""

    TIME = 0
    CLOCK = 8
    RESET_COUNT = 16
    RESTART_COUNT = 20
    SAFE = 24


def policy_pcr(old: bytes, pcrs: Mapping[int, bytes]) -> bytes:
    """PolicyPCR over SHA-256 PCRs with these values (Part 3, 23.7)."""
    values = b"".join(pcrs[index] for index in sorted(pcrs))
    return _extend(old, CommandCode.POLICY_PCR, selection_bytes(pcrs) + _sha256(values))


def policy_counter_timer(old: bytes, operand: bytes, offset: int, operation: Operation) -> bytes:
    """PolicyCounterTimer: compares a field of TPMS_TIME_INFO with a big-endian operand (Part 3, 23.10)."""
    return _extend(old, CommandCode.POLICY_COUNTER_TIMER, _comparison(operand, offset, operation))


def policy_nv(old: bytes, operand: bytes, offset: int, operation: Operation, nv_name: bytes) -> bytes:
    """PolicyNV: compares the contents of an NV index, known by its Name, with an operand (Part 3, 23.9)."""
    return _extend(old, CommandCode.POLICY_NV, _comparison(operand, offset, operation) + nv_name)


def policy_command_code(old: bytes, command_code: int) -> bytes:
    """PolicyCommandCode: authorises this one command only (Part 3, 23.11)."""
    return _extend(old, CommandCode.POLICY_COMMAND_CODE, command_code.to_bytes(4, "big"))


def policy_authorize(key_name: bytes, policy_ref: bytes) -> bytes:
    """PolicyAuthorize: any policy that the key signs with ``policy_ref`` (Part 3, 23.16); starts anew."""
    return _sha256(_extend(EMPTY_POLICY, CommandCode.POLICY_AUTHORIZE, key_name) + policy_ref)


def authorization_digest(approved_policy: bytes, policy_ref: bytes) -> bytes:
    """Return aHash = H(approvedPolicy ‖ policyRef), which the authorising key signs (Part 3, 23.16.1)."""
    return _sha256(approved_policy + policy_ref)


def sign_policy(private_key: ec.EllipticCurvePrivateKey, approved_policy: bytes, policy_ref: bytes) -> bytes:
    """Approve a policy digest: return the TPMT_SIGNATURE (ECDSA, SHA-256) that TPM2_VerifySignature takes."""
    _require_p256(private_key.curve)
    return sign_digest(private_key, authorization_digest(approved_policy, policy_ref))


def verify_policy_signature(
    public_key: ec.EllipticCurvePublicKey, approved_policy: bytes, policy_ref: bytes, signature: bytes
) -> None:
    """Check a signature of :func:`sign_policy`.

    Raises:
        VerificationError: SIGNATURE_ALGORITHM, SIGNATURE_INVALID.
    """
    _require_p256(public_key.curve)
    parsed = parse_signature(signature)
    if not isinstance(parsed, EcdsaSignature) or parsed.hash_algorithm != AlgorithmId.SHA256:
        raise VerificationError(RejectionCode.SIGNATURE_ALGORITHM, "a policy is signed with ECDSA and SHA-256")
    try:
        public_key.verify(
            encode_dss_signature(parsed.r, parsed.s),
            authorization_digest(approved_policy, policy_ref),
            ec.ECDSA(Prehashed(hashes.SHA256())),
        )
    except InvalidSignature:
        raise VerificationError(
            RejectionCode.SIGNATURE_INVALID, "the policy was not approved by this key for this purpose"
        ) from None


def external_signing_key(public_key: ec.EllipticCurvePublicKey) -> Public:
    """Return the area under which TPM2_LoadExternal takes a policy-signing key; its Name goes into the policy."""
    _require_p256(public_key.curve)
    numbers = public_key.public_numbers()
    null = AlgorithmId.NULL.to_bytes(2, "big")
    return parse_public(
        key_area(
            KeyKind.ECC_P256,
            ObjectAttributes.SIGN_ENCRYPT | ObjectAttributes.USER_WITH_AUTH,
            symmetric=null,
            scheme=null,
            unique=(numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")),
        )
    )


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _extend(old: bytes, command_code: CommandCode, argument: bytes) -> bytes:
    return _sha256(old + command_code.to_bytes(4, "big") + argument)


def _comparison(operand: bytes, offset: int, operation: Operation) -> bytes:
    return _sha256(operand + offset.to_bytes(2, "big") + operation.to_bytes(2, "big"))


def _require_p256(curve: ec.EllipticCurve) -> None:
    if not isinstance(curve, ec.SECP256R1):
        raise UnsupportedError(f"policies are signed with P-256, not {curve.name}")
