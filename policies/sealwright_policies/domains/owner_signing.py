"""Makes an owner's signatures under a domain and under workloads (policies/spec/domain.md, 9); no box has this."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from sealwright_policies.appraisal.reference_values import SignedDomain, SignedWorkload
from sealwright_policies.domains.canonical import canonical_form
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.ownership import domain_message, key_id, verify_signed_domain, workload_message
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.envelope import public_der


def sign_domain(domain: Domain, key: ec.EllipticCurvePrivateKey, earlier: SignedDomain | None = None) -> SignedDomain:
    """The owner's word for a domain.

    Args:
        domain: what it says.
        key: the owner's.
        earlier: what the owner has signed of the same domain before; workloads that may still run are kept.

    Raises:
        FormatError, VerificationError: the earlier one does not verify; OWNER_SIGNATURE, the domain names another key
            or none.
    """
    _require_own(domain, key)
    kept = []
    if earlier is not None and key_id(before := verify_signed_domain(earlier)) == key_id(domain):
        kept = [
            one for one in earlier.workloads if before.name == domain.name and one.payload_id in domain.run.workloads
        ]
    signature = key.sign(domain_message(domain), ec.ECDSA(SHA256()))
    return SignedDomain(canonical_form=canonical_form(domain), signature=signature, workloads=kept)


def sign_workload(
    signed: SignedDomain, payload_id: str, root_hash: str, key: ec.EllipticCurvePrivateKey
) -> SignedDomain:
    """Add the owner's word for a workload's image; it takes the place of one for the same payload id.

    Args:
        signed: the domain, by the same key.
        payload_id: of the workload.
        root_hash: of its image, 64 hex digits.
        key: the owner's.

    Raises:
        FormatError, VerificationError: the domain does not verify; DOMAIN_FORBIDS, it does not let the workload run;
            OWNER_SIGNATURE, it names another key.
    """
    domain = verify_signed_domain(signed)
    _require_own(domain, key)
    if payload_id not in domain.run.workloads:
        raise VerificationError(
            RejectionCode.DOMAIN_FORBIDS, f"{payload_id!r} is not among run.workloads of domain {domain.name}."
        )
    signature = key.sign(workload_message(domain.name, payload_id, root_hash), ec.ECDSA(SHA256()))
    one = SignedWorkload(payload_id=payload_id, root_hash=root_hash, signature=signature)
    others = [each for each in signed.workloads if each.payload_id != payload_id]
    return signed.model_copy(update={"workloads": sorted([*others, one], key=lambda each: each.payload_id)})


def _require_own(domain: Domain, key: ec.EllipticCurvePrivateKey) -> None:
    if key_id(domain) != hashlib.sha256(public_der(key.public_key())).digest():
        raise VerificationError(
            RejectionCode.OWNER_SIGNATURE,
            f"Domain {domain.name} names {'another key' if domain.owner.key else 'no key'} of its owner.",
        )
