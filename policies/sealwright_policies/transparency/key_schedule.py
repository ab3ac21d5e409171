"""Which key of a log is good for which checkpoints (policies/spec/transparency.md, 8).

A log says itself when a key was retired, and so under which sizes that key may stand. What this does not do: tell which
key is the current one, which whoever verifies has from elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint, verify_checkpoint
from sealwright_policies.transparency.entries import LogKeyEntry


class KeySchedule:
    """The keys of one log, and the largest size that each retired one may sign."""

    def __init__(self, keys: Sequence[Ed25519PublicKey], origin: str) -> None:
        """``keys`` are those that public files name, the current one last."""
        self._keys = list(keys)
        self._origin = origin
        self._last_sizes: dict[str, int] = {}

    def note(self, index: int, entry: LogKeyEntry) -> bool:
        """Take in what an entry of the log says; a key is retired once.

        Returns:
            False if it says that the current key is retired, which nobody who may says: nothing is taken in.
        """
        if entry.event != "retired":
            return True
        if entry.key == key_fingerprint(self._keys[-1]):
            return False
        self._last_sizes.setdefault(entry.key, index)
        return True

    def verify(self, note: str) -> Checkpoint:
        """Verify a checkpoint, which a key that was good for its size must have signed.

        Raises:
            FormatError: not a note of a checkpoint.
            VerificationError: ``LOG_PROOF_INVALID``; ``LOG_KEY_RETIRED``: only keys that were retired before it.
        """
        retired_at: int | None = None
        for key in self._keys:
            try:
                found = verify_checkpoint(note, key, self._origin)
            except VerificationError:
                continue
            last_size = self._last_sizes.get(key_fingerprint(key))
            if last_size is None or found.size <= last_size:
                return found
            retired_at = last_size
        if retired_at is None:
            return self.verify_current(note)
        raise VerificationError(
            RejectionCode.LOG_KEY_RETIRED,
            f"the checkpoint is signed only by a key that was good up to size {retired_at}",
        )

    def verify_current(self, note: str) -> Checkpoint:
        """Verify a checkpoint that the current key must have signed.

        Raises:
            FormatError, VerificationError: as above.
        """
        return verify_checkpoint(note, self._keys[-1], self._origin)


def key_fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of SubjectPublicKeyInfo in hex, by which the log names a key."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
