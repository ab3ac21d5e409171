"""What is kept of a conversation is sealed under the API key of whoever had it (policies/spec/conversations.md, 2).

The box holds hashes of API keys alone, so it opens a conversation only while its key is shown.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_policies.errors import FormatError
from sealwright_policies.wire.framing import framed

OWNER_LABEL = "sealwright/v1/conversation-owner"
KEY_LABEL = "sealwright/v1/conversation-key"
PART_LABEL = "sealwright/v1/conversation"
NONCE_SIZE = 12
TITLE, CONTENT = b"title", b"content"


class ConversationSeal:
    """Of one API key."""

    def __init__(self, api_key: str) -> None:
        self.owner = _derived(api_key, OWNER_LABEL).hex()
        """By which the agent keeps together what belongs to the key, without knowing the key."""
        self._cipher = AESGCM(_derived(api_key, KEY_LABEL))

    def seal(self, conversation_id: str, part: bytes, text: bytes) -> bytes:
        """One part of one conversation."""
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, text, _bound(conversation_id, part))

    def open(self, conversation_id: str, part: bytes, sealed: bytes) -> bytes:
        """It again.

        Raises:
            FormatError: it is not that part, or of another key.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _bound(conversation_id, part))
        except (InvalidTag, ValueError):
            raise FormatError("The conversation is not of this key, or damaged.") from None


def _bound(conversation_id: str, part: bytes) -> bytes:
    return framed(PART_LABEL, bytes.fromhex(conversation_id), part)


def _derived(api_key: str, label: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=label.encode("ascii")).derive(api_key.encode("ascii"))
