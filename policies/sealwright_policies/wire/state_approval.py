"""Approvals of boot states by the customer key (policies/spec/binding.md, 2): the TPM policy of the state volume.

The first boot approves the release that runs. A later one opens the volume once the customer has signed for it, away
from the box, which does not have the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from sealwright_policies.appraisal.reference_values import STATE_SET
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    policy_command_code,
    policy_pcr,
    sign_policy,
    verify_policy_signature,
)
from sealwright_policies.wire.encoding import Bytes4K, Document, PcrValues, Sha256Hex, pcr_bytes, pcr_values
from sealwright_policies.wire.framing import APPROVALS_LABEL, framed_digest, state_reference

MOST_APPROVALS = 64
"""Of all releases together, in one binding record."""
MOST_AT_ONCE = 16
"""A release has eight ways through PCR 4, and ways that were signed later."""


class StateApproval(Document):
    """The customer's word that one boot state may open the state volume."""

    release_id: Sha256Hex
    pcrs: Annotated[PcrValues, Field(min_length=1)]
    """Of the STATE_SET at the unseal point."""
    signature: Bytes4K
    """TPMT_SIGNATURE over aHash(PolicyPCR ∧ PolicyCommandCode(Unseal), state_reference)."""


class StateApprovals(Document):
    """``POST /approvals``: every boot state of one release. The signatures are the authority: no key is wanted."""

    approvals: Annotated[list[StateApproval], Field(min_length=1, max_length=MOST_AT_ONCE)]
    signature: Bytes4K
    """TPMT_SIGNATURE of the customer key: that these are of that release, which those of the approvals do not say."""


def approved_states(release: Release) -> list[dict[int, bytes]]:
    """Values of the STATE_SET at the unseal point of a release, one set per way through PCR 4."""
    measurements = release.measurements
    common = pcr_bytes(measurements.unseal)
    return [
        {pcr: bytes.fromhex(application.pcr4) if pcr == 4 else common[pcr] for pcr in STATE_SET}
        for application in measurements.boot_applications
    ]


def state_policy(pcrs: Mapping[int, bytes]) -> bytes:
    """PolicyPCR(STATE_SET) ∧ PolicyCommandCode(Unseal), 32 bytes.

    Raises:
        FormatError: other PCRs than those.
    """
    if tuple(sorted(pcrs)) != STATE_SET:
        raise FormatError(f"An approval of the customer is over PCRs {STATE_SET}, not {tuple(sorted(pcrs))}.")
    return policy_command_code(policy_pcr(EMPTY_POLICY, pcrs), CommandCode.UNSEAL)


def approve_release(release: Release, customer_key: ec.EllipticCurvePrivateKey) -> list[StateApproval]:
    """Approve every boot state of a release."""
    return [
        StateApproval(
            release_id=release.release_id,
            pcrs=pcr_values(pcrs),
            signature=sign_policy(customer_key, state_policy(pcrs), state_reference()),
        )
        for pcrs in approved_states(release)
    ]


def verify_state_approval(approval: StateApproval, customer_key: ec.EllipticCurvePublicKey) -> None:
    """Check that the customer key has approved these PCR values.

    Raises:
        FormatError: over other PCRs.
        VerificationError: ``DOCUMENT_SIGNATURE``.
    """
    policy = state_policy(pcr_bytes(approval.pcrs))
    try:
        verify_policy_signature(customer_key, policy, state_reference(), approval.signature)
    except VerificationError as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The approval is not by the customer key of this box."
        ) from error


def sign_approvals(approvals: Sequence[StateApproval], customer_key: ec.EllipticCurvePrivateKey) -> StateApprovals:
    """Say that these are of the release that they name."""
    signature = sign_policy(customer_key, _subject(approvals), framed_digest(APPROVALS_LABEL))
    return StateApprovals(approvals=list(approvals), signature=signature)


def verify_state_approvals(brought: StateApprovals, customer_key: ec.EllipticCurvePublicKey) -> None:
    """Check that the customer key has approved each boot state, and for this release.

    Raises:
        FormatError: over other PCRs, or of several releases.
        VerificationError: ``DOCUMENT_SIGNATURE``.
    """
    if len({one.release_id for one in brought.approvals}) != 1:
        raise FormatError("Approvals are brought for one release at a time.")
    for approval in brought.approvals:
        verify_state_approval(approval, customer_key)
    try:
        reference = framed_digest(APPROVALS_LABEL)
        verify_policy_signature(customer_key, _subject(brought.approvals), reference, brought.signature)
    except VerificationError as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The customer key has not approved this for the release that is named."
        ) from error


def _subject(approvals: Sequence[StateApproval]) -> bytes:
    states = (state_policy(pcr_bytes(one.pcrs)) for one in approvals)
    return framed_digest(APPROVALS_LABEL, bytes.fromhex(approvals[0].release_id), *states)
