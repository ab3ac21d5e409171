"""Whether two checkpoints of a log are of one history (policies/spec/box-evidence.md, 5)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint
from sealwright_policies.transparency.merkle import MOST_CONSISTENCY_HASHES, verify_consistency
from sealwright_policies.wire.encoding import Document, Sha256Hex

PROOF_LIMIT = 16 * 1024
"""Bytes of a proof as a document."""


class GrowthProof(Document):
    """``GET /v1/log/proof/consistency``: that a log has only grown between two sizes."""

    path: Annotated[list[Sha256Hex], Field(max_length=MOST_CONSISTENCY_HASHES)]


def verify_growth(one: Checkpoint, other: Checkpoint, proof: GrowthProof | None) -> Checkpoint:
    """Verify that the larger of two logs begins with the smaller one; returns the larger.

    Args:
        proof: from the smaller size to the larger; None will do for two of one size.

    Raises:
        VerificationError: ``LOG_PROOF_INVALID``.
    """
    if one.origin != other.origin:
        raise VerificationError(RejectionCode.LOG_PROOF_INVALID, "the checkpoints are of two logs")
    first, second = sorted((one, other), key=lambda checkpoint: checkpoint.size)
    path = [] if proof is None else [bytes.fromhex(digest) for digest in proof.path]
    verify_consistency(first.size, second.size, first.root, second.root, path)
    return second
