"""The customer's order to take back an approval of a release (policies/spec/binding.md, 5)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.policy import sign_policy, verify_policy_signature
from sealwright_policies.wire.encoding import Bytes4K, Document, Sha256Hex
from sealwright_policies.wire.framing import WITHDRAWAL_LABEL, framed_digest

MOST_WITHDRAWALS = 64
"""In one binding record."""


class Withdrawal(Document):
    """``POST /withdrawals``. The signature is the authority: no key of the box's is wanted."""

    volume_id: Sha256Hex
    release_id: Sha256Hex
    signature: Bytes4K
    """TPMT_SIGNATURE of the customer key."""


def sign_withdrawal(volume: str, release_id: str, customer_key: ec.EllipticCurvePrivateKey) -> Withdrawal:
    """Take back the approvals of a release for one state volume (:func:`.wipe_order.volume_id`).

    The form is that of a policy approval, under a reference that no sealed object names.
    """
    signature = sign_policy(customer_key, _subject(volume, release_id), _reference())
    return Withdrawal(volume_id=volume, release_id=release_id, signature=signature)


def verify_withdrawal(order: Withdrawal, volume: str, customer_key: ec.EllipticCurvePublicKey) -> None:
    """Check that the customer key has ordered it, for this volume.

    Raises:
        VerificationError: ``DOCUMENT_SIGNATURE``.
    """
    try:
        if order.volume_id == volume:
            subject = _subject(volume, order.release_id)
            return verify_policy_signature(customer_key, subject, _reference(), order.signature)
    except VerificationError as error:
        raise _not_ordered() from error
    raise _not_ordered()


def _subject(volume: str, release_id: str) -> bytes:
    return framed_digest(WITHDRAWAL_LABEL, bytes.fromhex(volume), bytes.fromhex(release_id))


def _reference() -> bytes:
    return framed_digest(WITHDRAWAL_LABEL)


def _not_ordered() -> VerificationError:
    return VerificationError(
        RejectionCode.DOCUMENT_SIGNATURE,
        "The withdrawal is not by the customer key of this box, or for another volume.",
    )
