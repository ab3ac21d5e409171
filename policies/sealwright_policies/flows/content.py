"""A file in frames, each encrypted and authenticated by itself (policies/spec/domain-flow.md, 7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.flows.documents import FlowTerms
from sealwright_policies.wire.framing import framed

KEY_LABEL, FRAME_LABEL = "sealwright/v1/flow-key", "sealwright/v1/flow-frame"
FRAME_SIZE = 1024 * 1024
"""Bytes of plain text."""
TAG_SIZE = 16
CONTENT_KEY_SIZE = 32
_NUMBER_SIZE, _NONCE_SIZE = 8, 12


def frame_count(size: int) -> int:
    """Frames of a file of this size; an empty one has one."""
    return max(1, -(-size // FRAME_SIZE))


@dataclass(frozen=True, slots=True)
class FrameCipher:
    """The frames of one flow of one file."""

    flow_id: str
    size: int
    _cipher: AESGCM = field(repr=False)

    @classmethod
    def of(cls, terms: FlowTerms, content_key: bytes) -> FrameCipher:
        """Derive the key."""
        return cls.of_file(terms.flow_id, terms.digest, terms.size, content_key)

    @classmethod
    def of_file(cls, flow_id: str, digest: str, size: int, content_key: bytes) -> FrameCipher:
        """Derive the key of a flow of a file.

        Args:
            flow_id: 32 hexadecimal digits.
            digest: SHA-256 of the file, hexadecimal.
            size: of the file, bytes.
            content_key: 32 random bytes that were drawn for this flow.
        """
        info = framed(KEY_LABEL, bytes.fromhex(flow_id), bytes.fromhex(digest))
        key = HKDF(SHA256(), 32, salt=bytes(32), info=info).derive(content_key)
        return cls(flow_id, size, AESGCM(key))

    @property
    def count(self) -> int:
        """Number of frames."""
        return frame_count(self.size)

    def plain_size(self, number: int) -> int:
        """Bytes of plain text in a frame."""
        return min(FRAME_SIZE, self.size - number * FRAME_SIZE)

    def seal(self, number: int, plain: bytes) -> bytes:
        """Encrypt a frame: one nonce for one text, since key and number name it."""
        if not 0 <= number < self.count or len(plain) != self.plain_size(number):
            raise _refused(f"frame {number} of {len(plain)} bytes is none of this file")
        return self._cipher.encrypt(self._nonce(number), plain, self._bound(number))

    def open(self, number: int, frame: bytes) -> bytes:
        """Decrypt a frame.

        Raises:
            VerificationError: FLOW_CONTENT.
        """
        if not 0 <= number < self.count or len(frame) != self.plain_size(number) + TAG_SIZE:
            raise _refused(f"frame {number} of {len(frame)} bytes is none of this file")
        try:
            return self._cipher.decrypt(self._nonce(number), frame, self._bound(number))
        except InvalidTag:
            raise _refused(f"frame {number} is not as it was sent") from None

    def _nonce(self, number: int) -> bytes:
        return number.to_bytes(_NONCE_SIZE, "big")

    def _bound(self, number: int) -> bytes:
        numbers = (number.to_bytes(_NUMBER_SIZE, "big"), self.count.to_bytes(_NUMBER_SIZE, "big"))
        return framed(FRAME_LABEL, bytes.fromhex(self.flow_id), *numbers)


def _refused(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.FLOW_CONTENT, sentence)
