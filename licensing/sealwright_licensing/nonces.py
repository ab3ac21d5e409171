"""Stateless nonces (policies/spec/renewal.md): nothing is stored until one has been used with success.

A nonce is ``time (8) ‖ random (8) ‖ HMAC-SHA-256 over time, random, device and purpose, first 16 bytes``. Asking for
many of them fills nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.framing import framed
from sealwright_policies.wire.messages import Purpose

NONCE_LABEL = "sealwright/v1/nonce"
NONCE_SIZE = 32
LIFETIME_S = 300
_TIME_SIZE, _RANDOM_SIZE, _MAC_SIZE = 8, 8, 16


@dataclass(frozen=True, slots=True)
class StatelessNonces:
    """Issues and recognises nonces under one secret key."""

    key: bytes = field(repr=False)

    def issue(self, device_id: str, purpose: Purpose, *, now: int) -> bytes:
        """A nonce for one device and purpose, good for five minutes; 32 bytes."""
        head = now.to_bytes(_TIME_SIZE, "big") + secrets.token_bytes(_RANDOM_SIZE)
        return head + self._mac(head, device_id, purpose)

    def verify(self, nonce: bytes, device_id: str, purpose: Purpose, *, now: int) -> int:
        """Recognise a nonce of ours.

        Returns:
            When it runs out, seconds since the epoch.

        Raises:
            VerificationError: NONCE_INVALID: not ours, for another device or purpose, or too old.
        """
        head, mac = nonce[: _TIME_SIZE + _RANDOM_SIZE], nonce[_TIME_SIZE + _RANDOM_SIZE :]
        expected = self._mac(head, device_id, purpose)
        if len(nonce) != NONCE_SIZE or not hmac.compare_digest(mac, expected):
            raise VerificationError(
                RejectionCode.NONCE_INVALID, "the nonce was not issued by this service for this device and purpose"
            )
        expires_at = int.from_bytes(head[:_TIME_SIZE], "big") + LIFETIME_S
        if now > expires_at:
            raise VerificationError(RejectionCode.NONCE_INVALID, "the nonce is older than five minutes; get a new one")
        return expires_at

    def _mac(self, head: bytes, device_id: str, purpose: Purpose) -> bytes:
        message = framed(NONCE_LABEL, head, device_id.encode("ascii"), purpose.value.encode("ascii"))
        return hmac.digest(self.key, message, hashlib.sha256)[:_MAC_SIZE]
