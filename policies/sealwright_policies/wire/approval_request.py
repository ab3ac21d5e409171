"""Approvals of a release key that is on another machine, by file (policies/spec/custody.md, 3).

The request carries the signed manifest, and what is to be signed follows from it alone; what the request says beside is
for people, and is refused where it differs. What this does not do: hold a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import Field

from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT, verify_variants
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT, RELEASE_APPROVAL_SET, ProductVersion
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.policy import authorization_digest
from sealwright_policies.wire.encoding import (
    Bytes4M,
    Bytes64K,
    Document,
    Identifier,
    PcrValues,
    Sha256Hex,
    pcr_bytes,
    pcr_values,
)
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import domain_key_id, release_share_reference
from sealwright_policies.wire.messages import ReleaseApproval
from sealwright_policies.wire.release_approval import (
    release_approval_policy,
    sign_release_approval,
    verify_release_approval,
)

REQUEST_LIMIT = 2 * (MANIFEST_LIMIT + VARIANTS_LIMIT)
"""Bytes of the longest request that is read."""
REPLY_LIMIT = 4 * 1024 * 1024
DOMAIN_KEY = "domain-key"
"""Stands in the place of a payload's id, for people."""
MOST_APPROVALS = 65 * 16
"""Partitions and the domain key, times ways through PCR 4."""


class PendingApproval(Document):
    """One signature that is wanted: for a partition, in one boot state."""

    payload_id: Identifier
    partition_id: Sha256Hex
    way: Identifier
    """Name of the way through PCR 4."""
    pcrs: PcrValues
    digest: Sha256Hex
    """What the release key signs."""


class ApprovalRequest(Document):
    """``approval-request.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    release_id: Sha256Hex
    product: Identifier
    product_version: ProductVersion
    manifest: Bytes4M
    """The signed manifest."""
    variants: Bytes64K | None
    """The signed list of ways from after the build, if there is one."""
    approvals: Annotated[list[PendingApproval], Field(min_length=1, max_length=MOST_APPROVALS)]


class ApprovalReply(Document):
    """What comes back."""

    version: Annotated[int, Field(ge=1, le=1)]
    release_id: Sha256Hex
    approvals: Annotated[list[ReleaseApproval], Field(min_length=1, max_length=MOST_APPROVALS)]


def wanted_approvals(release: Release) -> list[PendingApproval]:
    """Every signature that a release needs: of each partition, and of the domain key, in each boot state at the unseal
    point."""
    unseal = release.measurements.unseal
    partitions = {payload.payload_id: payload.verity.root_hash for payload in release.manifest.payloads}
    wanted = []
    for name, partition in (*partitions.items(), (DOMAIN_KEY, domain_key_id().hex())):
        reference = release_share_reference(bytes.fromhex(partition))
        for way in release.measurements.boot_applications:
            values = {pcr: bytes.fromhex(way.pcr4 if pcr == 4 else unseal[str(pcr)]) for pcr in RELEASE_APPROVAL_SET}
            wanted.append(
                PendingApproval(
                    payload_id=name,
                    partition_id=partition,
                    way=way.name,
                    pcrs=pcr_values(values),
                    digest=authorization_digest(release_approval_policy(values), reference).hex(),
                )
            )
    return wanted


def missing_approvals(release: Release, present: Iterable[ReleaseApproval]) -> list[PendingApproval]:
    """Those of a release that have not been given."""
    given = {_key(one) for one in present}
    return [one for one in wanted_approvals(release) if _key(one) not in given]


def make_request(
    release: Release, manifest: bytes, variants: bytes | None, pending: Sequence[PendingApproval]
) -> ApprovalRequest:
    """A request for these signatures; manifest and variants as they were signed."""
    return ApprovalRequest(
        version=1,
        release_id=release.release_id,
        product=release.manifest.product,
        product_version=release.manifest.product_version,
        manifest=manifest,
        variants=variants,
        approvals=list(pending),
    )


def verify_request(request: ApprovalRequest, manifest_key: ec.EllipticCurvePublicKey) -> Release:
    """Believe a request: the manifest key signed the release, and all that is asked for follows from it.

    Raises:
        FormatError: the manifest is none.
        VerificationError: DOCUMENT_SIGNATURE, DOCUMENT_TYPE; MANIFEST_MISMATCH if the request shows anything else than
            the manifest does.
    """
    release = verify_release(request.manifest, manifest_key)
    if request.variants is not None:
        release = verify_variants(request.variants, manifest_key, release)
    shown = (request.release_id, request.product, request.product_version)
    if shown != (release.release_id, release.manifest.product, release.manifest.product_version):
        raise _mismatch("the request shows another release than its manifest")
    wanted = wanted_approvals(release)
    if any(one not in wanted for one in request.approvals):
        raise _mismatch("the request asks for a signature that the manifest does not call for")
    return release


def sign_request(request: ApprovalRequest, release: Release, release_key: ec.EllipticCurvePrivateKey) -> ApprovalReply:
    """Sign what a verified request asks for.

    Args:
        request: verified.
        release: what :func:`verify_request` returned.
        release_key: in a file or a token.

    Raises:
        VerificationError: MANIFEST_MISMATCH: the image was built for another release key.
    """
    if _pem(release_key.public_key()) != _pem(load_p256_public_key(release.manifest.release_key)):
        raise _mismatch("the image was built for another release key than this")
    approvals = [
        sign_release_approval(release.release_id, one.partition_id, pcr_bytes(one.pcrs), release_key)
        for one in request.approvals
    ]
    return ApprovalReply(version=1, release_id=release.release_id, approvals=approvals)


def verify_reply(reply: ApprovalReply, release: Release) -> None:
    """Believe a reply: each approval is one that the release calls for, by its release key.

    Raises:
        VerificationError: MANIFEST_MISMATCH, DOCUMENT_SIGNATURE.
    """
    wanted = {_key(one) for one in wanted_approvals(release)}
    key = load_p256_public_key(release.manifest.release_key)
    for one in reply.approvals:
        if reply.release_id != release.release_id or one.release_id != release.release_id or _key(one) not in wanted:
            raise _mismatch("the reply is for another release, partition or boot state")
        verify_release_approval(one, key)


def _key(one: PendingApproval | ReleaseApproval) -> tuple[str, tuple[tuple[str, str], ...]]:
    return one.partition_id, tuple(sorted(one.pcrs.items()))


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _mismatch(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.MANIFEST_MISMATCH, sentence)
