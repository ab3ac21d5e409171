"""Approvals of boot states by the release key (policies/spec/custodian-wrap.md): the TPM policy of share B.

Made offline, once per release, partition and way through PCR 4. The box replays them to its TPM; nobody who lacks the
release key can make one.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import RELEASE_APPROVAL_SET
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    policy_command_code,
    policy_pcr,
    sign_policy,
    verify_policy_signature,
)
from sealwright_policies.wire.encoding import pcr_bytes, pcr_values
from sealwright_policies.wire.framing import release_share_reference
from sealwright_policies.wire.messages import ReleaseApproval


def release_approval_policy(pcrs: Mapping[int, bytes]) -> bytes:
    """PolicyPCR(4, 11, 12, 13, 15) ∧ PolicyCommandCode(Unseal), 32 bytes.

    Raises:
        FormatError: other PCRs than these five.
    """
    if tuple(sorted(pcrs)) != RELEASE_APPROVAL_SET:
        raise FormatError(f"A release approval is over PCRs {RELEASE_APPROVAL_SET}, not {tuple(sorted(pcrs))}.")
    return policy_command_code(policy_pcr(EMPTY_POLICY, pcrs), CommandCode.UNSEAL)


def sign_release_approval(
    release_id: str, partition_id: str, pcrs: Mapping[int, bytes], release_key: ec.EllipticCurvePrivateKey
) -> ReleaseApproval:
    """Approve one boot state for share B of one partition."""
    reference = release_share_reference(bytes.fromhex(partition_id))
    return ReleaseApproval(
        release_id=release_id,
        partition_id=partition_id,
        pcrs=pcr_values(pcrs),
        signature=sign_policy(release_key, release_approval_policy(pcrs), reference),
    )


def verify_release_approval(approval: ReleaseApproval, release_key: ec.EllipticCurvePublicKey) -> None:
    """Check that the release key approved these PCR values for this partition.

    Raises:
        FormatError: over other PCRs.
        VerificationError: ``DOCUMENT_SIGNATURE``.
    """
    reference = release_share_reference(bytes.fromhex(approval.partition_id))
    policy = release_approval_policy(pcr_bytes(approval.pcrs))
    try:
        verify_policy_signature(release_key, policy, reference, approval.signature)
    except VerificationError as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The release key has not approved this state for this partition."
        ) from error
