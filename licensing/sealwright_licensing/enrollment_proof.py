"""What only the TPM that an enrolment was opened for can show (policies/spec/enrollment.md): the secret, the SRK."""

from __future__ import annotations

import hashlib
import hmac

from sealwright_licensing.records import PendingEnrollment
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.attestation import verify_certify
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.messages import EnrollmentProof, Purpose


def check_secret(secret: bytes, expected_hash: bytes) -> None:
    """Demand the secret of the credential, which only the TPM with that EK and AK can open.

    Raises:
        VerificationError: CREDENTIAL_SECRET_MISMATCH.
    """
    if not hmac.compare_digest(hashlib.sha256(secret).digest(), expected_hash):
        raise VerificationError(
            RejectionCode.CREDENTIAL_SECRET_MISMATCH,
            "the secret is not that of the credential: it was not opened by the TPM with this EK and AK",
        )


def verify_storage_key(pending: PendingEnrollment, proof: EnrollmentProof) -> None:
    """Demand that the AK has certified the storage key that the enrolment was opened with, for this enrolment.

    Raises:
        VerificationError: the certification is of another key or enrolment, or not signed by the AK.
    """
    verify_certify(
        parse_public(pending.ak_public),
        proof.srk_certify.attest,
        proof.srk_certify.signature,
        qualifying_data=qualifying_data(
            nonce=pending.nonce,
            device_id=pending.device_id,
            license_id=pending.license_id,
            release_id=pending.release_id,
            purpose=Purpose.ENROLL,
            payload=proof.evidence.payload,
        ),
        public=parse_public(pending.srk_public),
    )
