"""Custodians whose keys the keyring names, in files or in a PKCS#11 token."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_custody.keeper import Keeper
from sealwright_licensing.custodian import Custodian, Custodians
from sealwright_licensing.keyring import CUSTODIANS, Keyring, KeyRole, load_keyring
from sealwright_licensing.keys import open_entry


class KeyCustodian:
    """Implements :class:`sealwright_licensing.custodian.Custodian` with one key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """P-256, as the builds know it."""
        return self._key.public_key()

    def exchange(self, public: ec.EllipticCurvePublicKey) -> bytes:
        """ECDH with a point: the x coordinate, 32 bytes."""
        return self._key.exchange(ec.ECDH(), public)


def load_custodians(folder: Path, keeper: Keeper | None = None) -> Custodians:
    """Both custodians of a service, with keys from before a rotation; what is rotated later is taken up by itself.

    Args:
        folder: ``keys/``.
        keeper: what opens them.

    Raises:
        OperationError: a key is missing, readable by others, or not the key it should be.
    """
    opener = keeper or Keeper(folder)
    known = load_keyring(folder)

    def reload() -> tuple[list[Custodian], list[Custodian]] | None:
        nonlocal known
        found = load_keyring(folder)
        if _custodian_entries(found) == _custodian_entries(known):
            return None
        known = found
        return _open(found, opener)

    lease, release = _open(known, opener)
    return Custodians(lease, release, reload)


def _open(keyring: Keyring, keeper: Keeper) -> tuple[list[Custodian], list[Custodian]]:
    lease, release = (open_custodian(keyring, keeper, role) for role in CUSTODIANS)
    return lease, release


def open_custodian(keyring: Keyring, keeper: Keeper, role: KeyRole) -> list[Custodian]:
    """The keys of one custodian, the current one first."""
    keyring.current(role)
    keys = [open_entry(keyring, keeper, role, one.fingerprint) for one in keyring.all_of(role)]
    return [KeyCustodian(key) for key in keys if isinstance(key, ec.EllipticCurvePrivateKey)]


def _custodian_entries(keyring: Keyring) -> list[object]:
    return [one for role in CUSTODIANS for one in keyring.all_of(role)]
