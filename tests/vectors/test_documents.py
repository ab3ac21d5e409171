"""Runs the vectors of ``documents/`` and ``endorsement/``; demands a vector or a reason for every rejection code."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealwright_licensing.certificates import parse_certificate
from sealwright_licensing.endorsement import Anchor, Tier, check_key_strength, verify_endorsement
from sealwright_policies.appraisal.clock import ClockReading
from sealwright_policies.appraisal.reference_values import WrappedShare
from sealwright_policies.appraisal.release import Release, find_release, verify_release
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.wire.custodian_wrap import unwrap_share
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import lease_share_reference, qualifying_data, release_share_reference
from sealwright_policies.wire.lease import LeaseTerms, require_in_force, verify_lease
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_policies.wire.volume_key import derive_volume_key, key_check
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

ROOT = Path(__file__).parent
VECTORS = [*load_vectors(ROOT / "documents"), *load_vectors(ROOT / "endorsement")]
Values = Mapping[str, Any]


def binary(values: Values, *names: str) -> list[bytes]:
    return [bytes.fromhex(values[name]) for name in names]


def run_verify_release(values: Values) -> Release:
    return verify_release(values["envelope"].encode(), load_p256_public_key(values["key"]))


def run_find_release(values: Values) -> object:
    release = run_verify_release(values)
    return find_release(values["release_id"], {release.release_id: release})


def run_verify_lease(values: Values) -> object:
    policy, document = values["lease_policy_key"], values["lease_document_key"]
    service = LicenseService(
        version=1,
        service_id="service-1",
        url="https://localhost:8444",
        ca=policy,
        lease_document_key=document,
        lease_policy_key=policy,
        device_ca=policy,
        log_key=values["log_key"],
        custodian_keys=CustodianKeys(lease_share=policy, release_share=policy),
    )
    return verify_lease(values["token"], service)


def run_require_in_force(values: Values) -> None:
    terms = parse_json(LeaseTerms, json.dumps(values["terms"]).encode(), limit=10_000)
    require_in_force(terms, ClockReading(**values["reading"]))


def run_unwrap_share(values: Values) -> str:
    key = ec.derive_private_key(values["custodian_scalar"], ec.SECP256R1())
    share = unwrap_share(
        lambda ephemeral: key.exchange(ec.ECDH(), ephemeral),
        key.public_key(),
        parse_json(WrappedShare, json.dumps(values["wrapped"]).encode(), limit=1000),
        partition_id=bytes.fromhex(values["partition_id"]),
        name=values["name"],
    )
    return share.hex()


def run_qualifying_data(values: Values) -> str:
    nonce, payload = binary(values, "nonce", "payload")
    fields = {name: values[name] for name in ("device_id", "license_id", "release_id", "purpose")}
    return qualifying_data(nonce=nonce, payload=payload, **fields).hex()


def run_verify_endorsement(values: Values) -> object:
    leaf, *supplied = (parse_certificate(base64.b64decode(each)) for each in values["chain"])
    anchor = Anchor(parse_certificate(base64.b64decode(values["root"])), Tier.DISCRETE)
    return verify_endorsement(leaf, supplied, [anchor], parse_public(bytes.fromhex(values["ek"])), now=values["now"])


def run_check_key_strength(values: Values) -> None:
    check_key_strength(rsa.RSAPublicNumbers(65537, int(values["modulus"], 16)).public_key())


def run_verify_device_certificate(values: Values) -> object:
    return verify_device_certificate(values["certificate"], values["device_ca"], now=values["now"])


def run_derive_volume_key(values: Values) -> str:
    lease_share, release_share, partition = binary(values, "lease_share", "release_share", "partition_id")
    owner = bytes.fromhex(values["owner_key_id"]) if "owner_key_id" in values else None
    return derive_volume_key(lease_share, release_share, partition, owner).hex()


OPERATIONS: dict[str, Callable[[Values], object]] = {
    "verify_release": run_verify_release,
    "find_release": run_find_release,
    "verify_lease": run_verify_lease,
    "require_in_force": run_require_in_force,
    "unwrap_share": run_unwrap_share,
    "derive_volume_key": run_derive_volume_key,
    "key_check": lambda values: key_check(*binary(values, "volume_key", "partition_id")),
    "qualifying_data": run_qualifying_data,
    "lease_share_reference": lambda values: lease_share_reference(*binary(values, "srk_name", "partition_id")).hex(),
    "release_share_reference": lambda values: release_share_reference(*binary(values, "partition_id")).hex(),
    "device_id": lambda values: device_id(*binary(values, "ek_public_area")),
    "verify_endorsement": run_verify_endorsement,
    "check_key_strength": run_check_key_strength,
    "verify_device_certificate": run_verify_device_certificate,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    """The operation comes to the expected outcome and, where one is known, result."""
    result = check_outcome(vector, lambda: OPERATIONS[vector.manifest["operation"]](vector.input))

    if "result" in vector.expected:
        assert result == vector.expected["result"]


def test_every_rejection_code_has_a_vector_or_a_reason() -> None:
    """rejection-codes.json lists the codes that no vector can come to, and where they are tested instead."""
    gaps = json.loads((ROOT / "rejection-codes.json").read_text())["gaps"]
    vectors = [vector for folder in sorted(ROOT.iterdir()) if folder.is_dir() for vector in load_vectors(folder)]
    covered = {code for vector in vectors for code in vector.expected.get("codes", [vector.expected.get("code")])} - {
        None
    }

    assert covered.isdisjoint(gaps)
    assert sorted(set(RejectionCode) - covered - set(gaps)) == []


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)


def test_every_rejection_code_stands_in_the_specification() -> None:
    """decisions.md lists all codes, and no other."""
    text = (ROOT.parents[1] / "policies/spec/decisions.md").read_text()

    assert set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)`", text)) == set(RejectionCode)
