"""A custodian key in a file of mode 0600."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing import keys
from sealwright_licensing.custodian import Custodians


class FileCustodian:
    """Implements :class:`sealwright_licensing.custodian.Custodian`."""

    def __init__(self, path: Path) -> None:
        self._key = keys.load_p256_private_key(path)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """P-256, as the builds know it."""
        return self._key.public_key()

    def exchange(self, public: ec.EllipticCurvePublicKey) -> bytes:
        """ECDH with a point: the x coordinate, 32 bytes."""
        return self._key.exchange(ec.ECDH(), public)


def load_file_custodians(folder: Path) -> Custodians:
    """Both custodians of a service that keeps its keys in files."""
    return Custodians(
        lease_share=FileCustodian(folder / keys.CUSTODIAN_LEASE_KEY),
        release_share=FileCustodian(folder / keys.CUSTODIAN_RELEASE_KEY),
    )
