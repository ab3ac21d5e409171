"""Kinds of keys, by what they are for."""

from __future__ import annotations

from enum import StrEnum


class KeyKind(StrEnum):
    """None is used for what another is for."""

    P256 = "p256"
    """Signs with ECDSA and SHA-256."""
    P256_ECDH = "p256-ecdh"
    ED25519 = "ed25519"

    @property
    def words(self) -> str:
        """For people."""
        match self:
            case KeyKind.P256:
                return "a P-256 signing key"
            case KeyKind.P256_ECDH:
                return "a P-256 key for ECDH"
            case KeyKind.ED25519:
                return "an Ed25519 key"
