"""The customer's order to destroy what a box keeps of theirs (policies/spec/binding.md, 4)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.policy import sign_policy, verify_policy_signature
from sealwright_policies.wire.encoding import Bytes4K, Document, Sha256Hex
from sealwright_policies.wire.framing import WIPE_LABEL, framed_digest


class WipeOrder(Document):
    """``POST /wipe``. The signature is the authority: no key of the box's is wanted."""

    volume_id: Sha256Hex
    signature: Bytes4K
    """TPMT_SIGNATURE of the customer key."""


def volume_id(sealed_public: bytes, sealed_private: bytes) -> str:
    """Which state volume an order is for, hex: the digest of its sealed key, both parts. No two have the same.

    Both, so that an order holds for no record whose sealed key was damaged to have it taken for dead.
    """
    return framed_digest(WIPE_LABEL, sealed_public, sealed_private).hex()


def sign_wipe_order(volume: str, customer_key: ec.EllipticCurvePrivateKey) -> WipeOrder:
    """Order the destruction of one state volume.

    The form is that of a policy approval, under a reference that no sealed object names.
    """
    return WipeOrder(volume_id=volume, signature=sign_policy(customer_key, _subject(volume), _reference()))


def verify_wipe_order(order: WipeOrder, volume: str, customer_key: ec.EllipticCurvePublicKey) -> None:
    """Check that the customer key has ordered it, of this volume.

    Raises:
        VerificationError: ``DOCUMENT_SIGNATURE``.
    """
    try:
        if order.volume_id == volume:
            return verify_policy_signature(customer_key, _subject(volume), _reference(), order.signature)
    except VerificationError as error:
        raise _not_ordered() from error
    raise _not_ordered()


def _subject(volume: str) -> bytes:
    return framed_digest(WIPE_LABEL, bytes.fromhex(volume))


def _reference() -> bytes:
    return framed_digest(WIPE_LABEL)


def _not_ordered() -> VerificationError:
    return VerificationError(
        RejectionCode.DOCUMENT_SIGNATURE, "The order is not by the customer key of this box, or for another volume."
    )
