"""The proof that a release is in the log (policies/spec/transparency.md, 6), as every lease carries it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from sealwright_policies.appraisal.reference_values import ProductVersion
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import CHECKPOINT_LIMIT, Checkpoint, log_origin, verify_checkpoint
from sealwright_policies.transparency.entries import entry_bytes, release_entry
from sealwright_policies.transparency.merkle import (
    MOST_ENTRIES,
    MOST_INCLUSION_HASHES,
    leaf_hash,
    verify_inclusion,
)
from sealwright_policies.wire.encoding import Document, Identifier, Sha256Hex
from sealwright_policies.wire.envelope import load_ed25519_public_key
from sealwright_policies.wire.service import LicenseService


class ReleaseProof(Document):
    """Where in the log a release stands, and the signed state of that log."""

    product: Identifier
    product_version: ProductVersion
    index: Annotated[int, Field(ge=0, lt=MOST_ENTRIES)]
    path: Annotated[list[Sha256Hex], Field(max_length=MOST_INCLUSION_HASHES)]
    checkpoint: Annotated[str, StringConstraints(max_length=CHECKPOINT_LIMIT)]


def verify_release_proof(proof: ReleaseProof, release_id: str, service: LicenseService) -> Checkpoint:
    """Verify that a release is in the service's log; returns the checkpoint that it is under.

    Raises:
        FormatError: the checkpoint is none.
        VerificationError: ``LOG_PROOF_INVALID``.
    """
    key = load_ed25519_public_key(service.log_key)
    checkpoint = verify_checkpoint(proof.checkpoint, key, log_origin(service.service_id))
    entry = release_entry(release_id, proof.product, proof.product_version)
    path = [bytes.fromhex(one) for one in proof.path]
    verify_inclusion(leaf_hash(entry_bytes(entry)), proof.index, checkpoint.size, path, checkpoint.root)
    return checkpoint


def require_logged_as(proof: ReleaseProof, product: str, product_version: str) -> None:
    """Demand that the log names a release as its manifest does: what auditors read is what boxes run.

    Raises:
        VerificationError: ``LOG_PROOF_INVALID``.
    """
    if (proof.product, proof.product_version) != (product, product_version):
        raise VerificationError(
            RejectionCode.LOG_PROOF_INVALID,
            "the log names another product or version than the release's manifest",
            expected=f"{product} {product_version}",
            found=f"{proof.product} {proof.product_version}",
        )
