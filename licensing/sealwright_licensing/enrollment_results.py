"""Results of enrolments that are over, given again to the same TPM (policies/spec/enrollment.md, 5).

Called inside the deciding transaction; what they read still holds when it commits.
"""

from __future__ import annotations

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.licenses import require_not_held, require_release, require_tier, require_usable
from sealwright_licensing.manifest_keys import UntrustedReleaseError
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceRelease,
    DeviceStatus,
    EnrollmentReply,
    License,
    ReleaseRecord,
)
from sealwright_licensing.store import Transaction
from sealwright_licensing.stored_releases import stored_release
from sealwright_policies.errors import RejectionCode, VerificationError

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
            require_release(license_, record, stored_release(record).manifest)
