"""The lease: document, TPM policy, and that the two cannot drift apart."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.clock import ClockReading
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.wire.envelope import sign_jws
from sealwright_policies.wire.lease import (
    LEASE_TYPE,
    EndBehaviour,
    Lease,
    LeaseTerms,
    lease_policy,
    require_in_force,
    sign_lease,
    verify_lease,
)
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.release_log import release_proof

UNSEAL_PCRS = {str(pcr): f"{pcr:02x}" * 32 for pcr in (0, 2, 4, 7, 11, 12, 13, 14, 15)}
PARTITION = "5a" * 32
LOG_KEY = Ed25519PrivateKey.generate()


def terms(**changes: Any) -> LeaseTerms:
    fields: dict[str, Any] = {
        "version": 1,
        "lease_id": "lease-1",
        "device_id": "a" * 52,
        "license_id": "license-1",
        "release_id": "11" * 32,
        "srk_name": "000b" + "22" * 32,
        "tick_counter_name": "000b" + "33" * 32,
        "lease_counter_name": "000b" + "44" * 32,
        "unseal_pcrs": UNSEAL_PCRS,
        "clock_end_ms": 86_400_000,
        "max_reset_count": 60,
        "max_ticks": 720,
        "number": 7,
        "next_nonce": b"n" * 32,
        "issued_at": 1_800_000_000,
        "expires_at": 1_802_592_000,
        "max_request_s": 600,
        "renew_after_s": 86_400,
        "license": {
            "ends_at": 1_830_000_000,
            "grace_ends_at": 1_830_000_000,
            "at_end": EndBehaviour.CLOSE,
            "budget_end_ticks": 9000,
            "features": [],
        },
        "warnings": [],
        "log": release_proof(LOG_KEY, "11" * 32),
    }
    return LeaseTerms(**(fields | changes))


class Keys:
    """The service's two lease keys and the file by which a box knows them."""

    def __init__(self) -> None:
        self.policy = ec.generate_private_key(ec.SECP256R1())
        self.document = Ed25519PrivateKey.generate()
        p256, ed25519 = (_pem(key.public_key()) for key in (self.policy, self.document))
        self.service = LicenseService(
            version=1,
            service_id="service-1",
            url="https://localhost:8444",
            ca=p256,
            lease_document_key=ed25519,
            lease_policy_key=p256,
            device_ca=p256,
            log_key=_pem(LOG_KEY.public_key()),
            custodian_keys=CustodianKeys(lease_share=p256, release_share=p256),
        )


def _pem(key: Any) -> str:
    text: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


def test_a_signed_lease_verifies_to_the_same_terms(keys: Keys) -> None:
    token = sign_lease(terms(), {PARTITION: "medical"}, keys.policy, keys.document)

    lease = verify_lease(token, keys.service)

    assert {name: getattr(lease, name) for name in LeaseTerms.model_fields} == dict(terms())
    assert [(part.partition_id, part.payload_id) for part in lease.partitions] == [(PARTITION, "medical")]


def test_the_policy_is_the_chain_of_tpm_assertions_in_the_order_of_the_specification() -> None:
    """Spelled out once from the TPM specification, Part 3, 23, beside the code that is used everywhere."""

    def sha256(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    values = b"".join(bytes.fromhex(UNSEAL_PCRS[str(pcr)]) for pcr in (0, 2, 4, 7, 11, 12, 13, 14, 15))
    selection = struct.pack(">IHB", 1, 0x000B, 3) + bytes((0b1001_0101, 0b1111_1000, 0))
    digest = sha256(bytes(32) + struct.pack(">I", 0x17F) + selection + sha256(values))
    for operand, offset in ((struct.pack(">Q", 86_400_000), 8), (struct.pack(">I", 60), 16)):
        digest = sha256(digest + struct.pack(">I", 0x16D) + sha256(operand + struct.pack(">HH", offset, 9)))
    for operand, operation, name in (
        (struct.pack(">Q", 720), 9, "33"),
        (struct.pack(">Q", 7), 0, "44"),
    ):
        argument = sha256(operand + struct.pack(">HH", 0, operation))
        digest = sha256(digest + struct.pack(">I", 0x149) + argument + bytes.fromhex("000b" + name * 32))
    digest = sha256(digest + struct.pack(">II", 0x16C, 0x15E))

    assert lease_policy(terms()) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"unseal_pcrs": UNSEAL_PCRS | {"15": "ff" * 32}},
        {"clock_end_ms": 86_400_001},
        {"max_reset_count": 61},
        {"max_ticks": 721},
        {"number": 8},
        {"tick_counter_name": "000b" + "55" * 32},
        {"lease_counter_name": "000b" + "55" * 32},
        {"srk_name": "000b" + "55" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_document_that_shows_other_terms_than_the_tpm_signature_is_refused(
    keys: Keys, change: dict[str, Any]
) -> None:
    honest = verify_lease(sign_lease(terms(), {PARTITION: "medical"}, keys.policy, keys.document), keys.service)
    altered = Lease(**(dict(honest) | change))

    with pytest.raises(VerificationError) as caught:
        verify_lease(sign_jws(altered, LEASE_TYPE, keys.document), keys.service)

    assert caught.value.code is RejectionCode.LEASE_MISMATCH


def test_a_lease_by_another_service_is_refused(keys: Keys) -> None:
    other = Keys()

    with pytest.raises(VerificationError) as caught:
        verify_lease(sign_lease(terms(), {PARTITION: "medical"}, keys.policy, other.document), keys.service)
    assert caught.value.code is RejectionCode.DOCUMENT_SIGNATURE

    with pytest.raises(VerificationError) as caught:
        verify_lease(sign_lease(terms(), {PARTITION: "medical"}, other.policy, keys.document), keys.service)
    assert caught.value.code is RejectionCode.LEASE_MISMATCH


def test_a_document_of_another_type_is_no_lease(keys: Keys) -> None:
    honest = verify_lease(sign_lease(terms(), {PARTITION: "medical"}, keys.policy, keys.document), keys.service)

    with pytest.raises(VerificationError) as caught:
        verify_lease(sign_jws(honest, "sealwright-receipt+jwt", keys.document), keys.service)

    assert caught.value.code is RejectionCode.DOCUMENT_TYPE


def test_a_lease_without_a_partition_is_malformed(keys: Keys) -> None:
    with pytest.raises(FormatError):
        verify_lease(sign_jws(terms(), LEASE_TYPE, keys.document), keys.service)


READING = ClockReading(reset_count=60, restart_count=0, clock_ms=86_400_000, ticks=720, lease_number=7)


def test_a_lease_is_in_force_up_to_each_of_its_bounds() -> None:
    require_in_force(terms(), READING)


@pytest.mark.parametrize(
    ("passed", "code"),
    [
        ({"clock_ms": 86_400_001}, RejectionCode.LEASE_EXPIRED),
        ({"reset_count": 61}, RejectionCode.LEASE_EXPIRED),
        ({"ticks": 721}, RejectionCode.LEASE_EXPIRED),
        ({"lease_number": 8}, RejectionCode.LEASE_MISMATCH),
        ({"lease_number": 6}, RejectionCode.LEASE_MISMATCH),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_lease_past_a_bound_is_refused_with_the_reason(passed: dict[str, int], code: RejectionCode) -> None:
    with pytest.raises(VerificationError) as caught:
        require_in_force(terms(), replace(READING, **passed))

    assert caught.value.code is code
