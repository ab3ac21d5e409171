"""Opening an enrolment: the challenge, and what is kept until its proof comes (policies/spec/enrollment.md)."""

from __future__ import annotations

import hashlib
import secrets

from sealwright_licensing.activation_codes import code_hash
from sealwright_licensing.endorsement import Endorsement
from sealwright_licensing.enrollment_identity import ClaimedIdentity, describe_tpm
from sealwright_licensing.records import PendingEnrollment
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.credential import make_credential
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.messages import MESSAGE_LIMIT, EnrollmentChallenge, EnrollmentRequest

PENDING_S = 600
"""Online."""
PENDING_BY_FILE_S = 14 * 86_400
MOST_PENDING_PER_CODE = 8
SECRET_SIZE = NONCE_SIZE = 32


def new_enrollment(
    request: EnrollmentRequest,
    claimed: ClaimedIdentity,
    endorsement: Endorsement,
    license_id: str,
    *,
    now: int,
    by_file: bool,
) -> tuple[EnrollmentChallenge, PendingEnrollment]:
    """A challenge that only the TPM with this EK and AK can answer, and what is kept until it does, unsigned."""
    secret, nonce = secrets.token_bytes(SECRET_SIZE), secrets.token_bytes(NONCE_SIZE)
    credential_blob, encrypted_secret = make_credential(claimed.ek, secret, claimed.ak.name)
    challenge = EnrollmentChallenge(
        enrollment_id=secrets.token_hex(16),
        device_id=claimed.device_id,
        license_id=license_id,
        credential_blob=credential_blob,
        encrypted_secret=encrypted_secret,
        nonce=nonce,
        expires_at=now + (PENDING_BY_FILE_S if by_file else PENDING_S),
    )
    return challenge, PendingEnrollment(
        enrollment_id=challenge.enrollment_id,
        device_id=claimed.device_id,
        license_id=license_id,
        code_hash=code_hash(request.activation_code),
        release_id=request.release_id,
        tier=endorsement.tier.value,
        tpm=describe_tpm(endorsement),
        ek_certificate=endorsement.certificate.encoded,
        ek_public=claimed.ek.area,
        ak_public=claimed.ak.area,
        srk_public=claimed.srk.area,
        secret_hash=hashlib.sha256(secret).digest(),
        nonce=nonce,
        expires_at=challenge.expires_at,
        challenge=document_bytes(challenge) if by_file else b"",
    )


def keep_open(transaction: Transaction, pending: PendingEnrollment, *, now: int) -> EnrollmentChallenge | None:
    """Keep an enrolment for its proof; or the challenge of the same request by file, which is open already.

    Args:
        transaction: names the activation code.

    Raises:
        VerificationError: RATE_LIMITED: too many are open with this activation code.
    """
    transaction.delete_below(PendingEnrollment, "expires_at", now, code_hash=pending.code_hash)
    found = transaction.find(PendingEnrollment, code_hash=pending.code_hash)
    for one in found:
        if _is_same_request(one, pending):
            return parse_json(EnrollmentChallenge, one.challenge, limit=MESSAGE_LIMIT)
    if len(found) >= MOST_PENDING_PER_CODE:
        raise VerificationError(
            RejectionCode.RATE_LIMITED,
            "too many enrolments with this activation code are open; each ends after 10 minutes, by file after 14 days",
        )
    transaction.add(pending)
    return None


def _is_same_request(held: PendingEnrollment, asked: PendingEnrollment) -> bool:
    """Whether a challenge that travels by file was made for the same keys, licence and release."""
    names = ("device_id", "license_id", "code_hash", "release_id", "ek_public", "ak_public", "srk_public")
    return bool(held.challenge and asked.challenge) and all(
        getattr(held, name) == getattr(asked, name) for name in names
    )
