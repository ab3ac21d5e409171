"""What the box accepts as a lease: the release must be in the service's log, under the manifest's own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.status import ReleaseStatus
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, sign_checkpoint
from sealwright_policies.transparency.release_proof import ReleaseProof
from sealwright_policies.wire.lease import EndBehaviour, LeaseTerms, LicenseTerms, sign_lease
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.release_log import SIZE, release_proof

RELEASE, PRODUCT, VERSION = "11" * 32, "sealed-advisor", "1.0"
POLICY, DOCUMENT, LOG, OTHER = (
    ec.generate_private_key(ec.SECP256R1()),
    Ed25519PrivateKey.generate(),
    Ed25519PrivateKey.generate(),
    Ed25519PrivateKey.generate(),
)


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


SERVICE = LicenseService(
    version=1,
    service_id="service-1",
    url="https://localhost:8444",
    ca=pem(POLICY),
    lease_document_key=pem(DOCUMENT),
    lease_policy_key=pem(POLICY),
    device_ca=pem(POLICY),
    log_key=pem(LOG),
    custodian_keys=CustodianKeys(lease_share=pem(POLICY), release_share=pem(POLICY)),
)


def token(log: ReleaseProof, release_id: str = RELEASE) -> str:
    """A lease that is right but for its proof."""
    terms = LeaseTerms(
        version=1,
        lease_id="lease-1",
        device_id="a" * 52,
        license_id="license-1",
        release_id=release_id,
        srk_name="000b" + "22" * 32,
        tick_counter_name="000b" + "33" * 32,
        lease_counter_name="000b" + "44" * 32,
        unseal_pcrs={str(pcr): f"{pcr:02x}" * 32 for pcr in (0, 2, 4, 7, 11, 12, 13, 14, 15)},
        clock_end_ms=1,
        max_reset_count=1,
        max_ticks=1,
        number=1,
        next_nonce=bytes(32),
        issued_at=1,
        expires_at=2,
        max_request_s=1,
        renew_after_s=1,
        license=LicenseTerms(ends_at=2, grace_ends_at=2, at_end=EndBehaviour.CLOSE, budget_end_ticks=1, features=[]),
        warnings=[],
        log=log,
    )
    return sign_lease(terms, {"5a" * 32: "medical"}, POLICY, DOCUMENT)


@pytest.fixture
def store(tmp_path: Path) -> LeaseStore:
    folders = [tmp_path / name for name in ("leases", "shares", "identity")]
    for folder in folders:
        folder.mkdir()
    leases, shares, identity = folders
    own = ReleaseStatus(product=PRODUCT, version=VERSION, release_id=RELEASE)
    return LeaseStore(leases, shares, identity, SERVICE, own)


GOOD = release_proof(LOG, RELEASE, product=PRODUCT, product_version=VERSION)


def changed(**fields: object) -> ReleaseProof:
    return GOOD.model_copy(update=fields)


def old_tree() -> ReleaseProof:
    """A checkpoint that the log has signed, of a tree that does not hold the release."""
    return changed(checkpoint=sign_checkpoint(Checkpoint(log_origin("service-1"), SIZE, bytes(32)), LOG))


def test_a_lease_with_the_proof_of_its_release_is_kept(store: LeaseStore) -> None:
    store.store_leases([token(GOOD)])

    assert [lease.lease_id for lease in store.load_leases()] == ["lease-1"]


@pytest.mark.parametrize(
    "log",
    [
        release_proof(LOG, "12" * 32, product=PRODUCT, product_version=VERSION),
        release_proof(OTHER, RELEASE, product=PRODUCT, product_version=VERSION),
        release_proof(LOG, RELEASE, service_id="service-2", product=PRODUCT, product_version=VERSION),
        changed(path=GOOD.path[:-1]),
        changed(path=[*GOOD.path, "00" * 32]),
        changed(index=GOOD.index + 1),
        old_tree(),
        release_proof(LOG, RELEASE, product="other-product", product_version=VERSION),
        release_proof(LOG, RELEASE, product=PRODUCT, product_version="1.1"),
    ],
    ids=[
        "another release",
        "another log key",
        "another log",
        "a proof cut",
        "a proof too long",
        "another place",
        "a wrong root",
        "another product than the manifest's",
        "another version than the manifest's",
    ],
)
def test_a_lease_without_it_is_refused_and_not_kept(store: LeaseStore, log: ReleaseProof) -> None:
    with pytest.raises(VerificationError) as error:
        store.store_leases([token(log)])

    assert error.value.code is RejectionCode.LOG_PROOF_INVALID
    assert store.load_leases() == []
    assert list(store.leases.iterdir()) == []


def test_a_stored_lease_is_verified_again(store: LeaseStore) -> None:
    """As after somebody had the disk."""
    (store.leases / "1-lease-1.jws").write_text(token(old_tree()))

    assert store.load_leases() == []


def test_a_lease_of_another_release_goes_by_its_own_name(store: LeaseStore) -> None:
    """The box has no manifest of the one before an update."""
    before = release_proof(LOG, "12" * 32, product=PRODUCT, product_version="0.9")

    store.store_leases([token(before, "12" * 32)])

    assert len(store.load_leases()) == 1
