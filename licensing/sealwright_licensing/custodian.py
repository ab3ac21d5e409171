"""Custodians: who holds the ECDH keys that the builds wrap key shares to.

One for each share, so that they can be kept apart: a file here, a PKCS#11 token where there is one. A custodian does
one operation and gives out no key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import PartitionWrappedShares, WrappedShare
from sealwright_policies.errors import VerificationError
from sealwright_policies.wire.custodian_wrap import ShareName, unwrap_share


class Custodian(Protocol):
    """Holder of one custodian key."""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """P-256, as the builds know it."""

    def exchange(self, public: ec.EllipticCurvePublicKey) -> bytes:
        """ECDH with a point: the x coordinate, 32 bytes."""


Reload = Callable[[], tuple[Sequence[Custodian], Sequence[Custodian]] | None]
"""Gives the custodians of both shares anew, or None if nothing has changed."""


class Custodians:
    """The two of them; a share unwrapped with the other's key does not verify.

    During a rotation each has an earlier key too. A share that no key opens may have been wrapped to one that was made
    since, so the keys are looked at again.
    """

    def __init__(
        self, lease_share: Sequence[Custodian], release_share: Sequence[Custodian], reload: Reload | None = None
    ) -> None:
        """Hold the custodians of each share, the current one first."""
        self._keys = (tuple(lease_share), tuple(release_share))
        self._reload = reload
        self._lock = threading.Lock()

    @property
    def lease_share(self) -> Custodian:
        """Whom builds wrap share A to."""
        return self._keys[0][0]

    @property
    def release_share(self) -> Custodian:
        """Whom builds wrap share B to."""
        return self._keys[1][0]

    def unwrap(self, shares: PartitionWrappedShares) -> tuple[bytes, bytes]:
        """Both shares of a partition, 32 bytes each: lease share, release share.

        Raises:
            VerificationError: DOCUMENT_SIGNATURE if a share was not wrapped to these keys, for this partition.
        """
        used = self._keys
        try:
            return _unwrap_both(used, shares)
        except VerificationError:
            self._look_again()
            if self._keys is used:
                raise
        return _unwrap_both(self._keys, shares)

    def _look_again(self) -> None:
        if self._reload is None:
            return
        with self._lock:
            found = self._reload()
            if found is not None:
                self._keys = (tuple(found[0]), tuple(found[1]))


def _unwrap_both(
    keys: tuple[Sequence[Custodian], Sequence[Custodian]], shares: PartitionWrappedShares
) -> tuple[bytes, bytes]:
    partition_id = bytes.fromhex(shares.partition_id)
    return (
        _unwrap_with(keys[0], shares.lease_share, partition_id, "lease"),
        _unwrap_with(keys[1], shares.release_share, partition_id, "release"),
    )


def _unwrap_with(keys: Sequence[Custodian], share: WrappedShare, partition_id: bytes, name: ShareName) -> bytes:
    for key in keys:
        try:
            return unwrap_share(key.exchange, key.public_key, share, partition_id=partition_id, name=name)
        except VerificationError as error:
            refusal = error
    raise refusal
