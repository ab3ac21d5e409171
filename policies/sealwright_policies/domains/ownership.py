"""What a domain's owner signs with a key of his own: the domain, and workloads (policies/spec/domain.md, 9).

Whoever reads a manifest holds it against these signatures (:func:`verify_owners`), so that the manifest key alone makes
no release that opens an owner's payloads to a workload that the owner has not signed. That no such release drops or
replaces the owner's key is seen to by the volume keys, which are bound to it (:func:`owner_key_id`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from sealwright_policies.appraisal.reference_values import Manifest, SignedDomain, version_key
from sealwright_policies.domains.canonical import domain_digest, parse_canonical_form, summarise
from sealwright_policies.domains.model import Domain
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.encoding import canonical_base64, parse_json
from sealwright_policies.wire.envelope import load_p256_public_der
from sealwright_policies.wire.framing import OWNER_DOMAIN_LABEL, OWNER_WORKLOAD_LABEL, framed
from sealwright_policies.workloads import WorkloadPlan

SIGNED_DOMAIN_LIMIT = 256 * 1024
"""Bytes of the longest ``NAME.signed.json``."""


def parse_signed_domain(content: bytes) -> SignedDomain:
    """Parse ``NAME.signed.json``; nothing is verified.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(SignedDomain, content, limit=SIGNED_DOMAIN_LIMIT)


def key_id(domain: Domain) -> bytes | None:
    """SHA-256 of the key that a domain names, 32 bytes; None if it names none."""
    return None if domain.owner.key is None else hashlib.sha256(canonical_base64(domain.owner.key)).digest()


def verify_signed_domain(signed: SignedDomain) -> Domain:
    """Verify the owner's signatures under a domain and under workloads; returns the domain.

    Raises:
        FormatError: the domain is not in canonical form.
        VerificationError: OWNER_SIGNATURE.
    """
    domain = parse_canonical_form(signed.canonical_form)
    if domain.owner.key is None:
        raise VerificationError(
            RejectionCode.OWNER_SIGNATURE, f"Domain {domain.name} names no key of its owner, so it cannot be signed."
        )
    key = load_p256_public_der(canonical_base64(domain.owner.key))
    _verify(key, domain_message(domain), signed.signature, f"Domain {domain.name}")
    for one in signed.workloads:
        message = workload_message(domain.name, one.payload_id, one.root_hash)
        _verify(key, message, one.signature, f"Workload {one.payload_id} for domain {domain.name}")
    return domain


def require_signed_workloads(domain: Domain, signed: SignedDomain, images: Mapping[str, str]) -> None:
    """Demand the owner's word for each workload of a release that may run on what lies in a domain.

    Args:
        domain: what :func:`verify_signed_domain` has returned.
        signed: verified there.
        images: root hashes of a release's payloads, hex, by payload id; all workloads among them.

    Raises:
        VerificationError: OWNER_UNSIGNED.
    """
    if domain.owner.vendor_workloads:
        return
    known = {(one.payload_id, one.root_hash) for one in signed.workloads}
    for name in sorted(images.keys() & set(domain.run.workloads)):
        if (name, images[name]) not in known:
            raise VerificationError(
                RejectionCode.OWNER_UNSIGNED,
                f"The owner of domain {domain.name} has not signed the image {images[name][:16]} of workload {name}.",
            )


def verify_owners(manifest: Manifest) -> None:
    """Hold a manifest against what owners have signed.

    Raises:
        FormatError: a domain in it is not in canonical form.
        VerificationError: OWNER_SIGNATURE, OWNER_UNSIGNED; MANIFEST_MISMATCH, the manifest says of a signed domain what
            its text does not, or a payload lies in it that is no member; RELEASE_NOT_ALLOWED, one lies in it, and it
            does not open for this version.
    """
    # Whatever kind the manifest gives to what a domain lets run by its id.
    images = {one.payload_id: one.verity.root_hash for one in manifest.payloads}
    for summary in manifest.domains:
        if summary.signed is None:
            continue
        domain = verify_signed_domain(summary.signed)
        if summarise(domain, summary.signed) != summary:
            raise VerificationError(
                RejectionCode.MANIFEST_MISMATCH,
                f"The manifest says of domain {summary.name} what its owner has not signed.",
            )
        _require_payloads(manifest, domain)
        require_signed_workloads(domain, summary.signed, images)


def _require_payloads(manifest: Manifest, domain: Domain) -> None:
    members = {(one.id, one.kind.value) for one in domain.member}
    opening, version = domain.open, version_key(manifest.product_version)
    within = version_key(opening.from_version) <= version < version_key(opening.below_version)
    for payload in manifest.payloads:
        if payload.domain != domain.name:
            continue
        if (payload.payload_id, payload.kind.value) not in members:
            raise VerificationError(
                RejectionCode.MANIFEST_MISMATCH,
                f"Payload {payload.payload_id} is no member of domain {domain.name} as its owner has signed it.",
            )
        if not within:
            raise VerificationError(
                RejectionCode.RELEASE_NOT_ALLOWED,
                f"Payload {payload.payload_id}: domain {domain.name} does not open for {manifest.product_version}.",
            )


def owner_key_id(manifest: Manifest, domain: str) -> bytes | None:
    """Which owner's key the volume keys of a domain's payloads are bound to (custodian-wrap.md, 3).

    Args:
        manifest: verified.
        domain: a payload's.
    """
    signed = next((one.signed for one in manifest.domains if one.name == domain), None)
    return None if signed is None else key_id(parse_canonical_form(signed.canonical_form))


def require_owners(manifest: Manifest, payload_id: str, plan: WorkloadPlan) -> None:
    """Demand that each owner of what a workload reads, and of where its results lie, lets it run.

    It reads payloads, and data sets that came to the box. That the owner has signed its image, too,
    :func:`verify_owners` has seen to.

    Raises:
        VerificationError: OWNER_UNSIGNED.
    """
    places = {one.domain for one in manifest.payloads if one.payload_id in plan.reads}
    places |= {plan.domain, *plan.files}
    for summary in manifest.domains:
        if summary.name in places and summary.signed is not None:
            domain = parse_canonical_form(summary.signed.canonical_form)
            if payload_id not in domain.run.workloads:
                raise VerificationError(
                    RejectionCode.OWNER_UNSIGNED, f"The owner of domain {domain.name} does not let {payload_id} run."
                )


def domain_message(domain: Domain) -> bytes:
    """What an owner signs of a domain."""
    return framed(OWNER_DOMAIN_LABEL, domain_digest(domain))


def workload_message(domain: str, payload_id: str, root_hash: str) -> bytes:
    """What an owner signs of a workload: for which domain, under which payload id, with which root hash in hex."""
    return framed(OWNER_WORKLOAD_LABEL, domain.encode("ascii"), payload_id.encode("ascii"), bytes.fromhex(root_hash))


def _verify(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes, what: str) -> None:
    try:
        key.verify(signature, message, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise VerificationError(
            RejectionCode.OWNER_SIGNATURE, f"{what}: the signature is not by its owner's key, or of something else."
        ) from error
