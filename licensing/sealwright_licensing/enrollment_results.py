"""Results of enrolments: stored, and given again to the same TPM (policies/spec/enrollment.md, 5).

Called inside the deciding transaction; what they read still holds when it commits.
"""

from __future__ import annotations

from sealwright_licensing import journal
from sealwright_licensing.baselines import pcrs_json
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.firmware import firmware_events
from sealwright_licensing.grants import PreparedGrant
from sealwright_licensing.licenses import require_not_held, require_release, require_tier, require_usable
from sealwright_licensing.manifest_keys import UntrustedReleaseError
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceFirmware,
    DeviceRelease,
    DeviceStatus,
    EnrollmentReply,
    License,
    PendingEnrollment,
    ReleaseRecord,
)
from sealwright_licensing.store import Transaction
from sealwright_licensing.stored_releases import stored_release
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.messages import EnrollmentProof, Purpose

REPLY_KEPT_S = 14 * 86_400


def require_own_result(
    transaction: Transaction, code: ActivationCodeRecord, device_id: str, ak_public: bytes, *, now: int
) -> EnrollmentReply:
    """A spent code still fetches the result that it was spent for, for the same EK and AK.

    Raises:
        VerificationError: ACTIVATION_CODE_INVALID, or as :func:`require_lasting`.
    """
    own = transaction.find(EnrollmentReply, enrollment_id=code.enrollment_id, device_id=device_id)
    reply = own[0] if own else None
    if reply is None or now > reply.expires_at or reply.ak_public != ak_public:
        raise VerificationError(
            RejectionCode.ACTIVATION_CODE_INVALID, "the activation code has been used", spent_at=code.spent_at
        )
    require_lasting(transaction, reply, now=now)
    return reply


def require_lasting(transaction: Transaction, reply: EnrollmentReply, *, now: int) -> None:
    """Nothing that a result grants has been taken away since, be it by the removal of a manifest key.

    Raises:
        VerificationError: the denial.
    """
    device = transaction.get(Device, reply.device_id)
    license_ = transaction.get(License, device.license_id) if device else None
    if device is None or license_ is None or device.status is DeviceStatus.RETIRED:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, "the device is not enrolled")
    require_usable(license_, now=now)
    require_tier(license_, Tier(device.tier))
    require_not_held(device)
    for provisioned in transaction.find(DeviceRelease, device_id=device.device_id):
        try:
            record = transaction.get(ReleaseRecord, provisioned.release_id)
        except UntrustedReleaseError as error:
            sentence = "the release is not signed by a manifest key that is trusted"
            raise VerificationError(RejectionCode.RELEASE_NOT_ALLOWED, sentence) from error
        if record is not None:
            require_release(license_, Tier(device.tier), record, stored_release(record).manifest)


def store_result(
    transaction: Transaction,
    pending: PendingEnrollment,
    proof: EnrollmentProof,
    result: AttestationResult,
    prepared: PreparedGrant,
    *,
    now: int,
) -> None:
    """Store what a proof has brought: the device with its leases, the result for the same TPM, and the decision."""
    prepared.store(transaction)
    transaction.put(DeviceFirmware(pending.device_id, firmware_events(proof.evidence.boot_log)))
    transaction.add(
        EnrollmentReply(
            enrollment_id=pending.enrollment_id,
            device_id=pending.device_id,
            ak_public=pending.ak_public,
            secret_hash=pending.secret_hash,
            reply=prepared.reply,
            expires_at=now + REPLY_KEPT_S,
        )
    )
    transaction.delete(PendingEnrollment, code_hash=pending.code_hash)
    unseal, opened = pcrs_json(result.unseal_pcrs), prepared.partitions(pending.release_id)
    transaction.put(DeviceRelease(pending.device_id, pending.release_id, unseal, now, 0, opened))
    journal.record_decision(
        transaction,
        device_id=pending.device_id,
        license_id=pending.license_id,
        purpose=Purpose.ENROLL,
        denial=None,
        result=result,
        now=now,
    )
