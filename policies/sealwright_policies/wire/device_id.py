"""Device ids (policies/spec/framing.md): one per endorsement key, printable, checked by a pattern on the wire."""

from __future__ import annotations

import base64
import hashlib


def device_id(ek_public_area: bytes) -> str:
    """base32(SHA-256(EK public area)), lower case, without padding: 52 characters.

    Args:
        ek_public_area: TPMT_PUBLIC of the endorsement key, the P-256 one if it has a certificate, else RSA-2048.
    """
    return base64.b32encode(hashlib.sha256(ek_public_area).digest()).decode("ascii").rstrip("=").lower()
