"""What the quotes of the two sides speak for (policies/spec/domain-flow.md, 3 and 8). Digests have 32 bytes."""

from __future__ import annotations

import hashlib

from sealwright_policies.flows.documents import FlowHello
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.framing import framed
from sealwright_policies.wire.messages import ImportBlob

RECEIVER_LABEL = "sealwright/v1/flow-receiver"
SENDER_LABEL = "sealwright/v1/flow-sender"
RECEIPT_LABEL = "sealwright/v1/flow-receipt"


def receiver_payload(fingerprint: bytes, nonce: bytes, hello: FlowHello) -> bytes:
    """Of the receiver's party: its TLS certificate's digest, its own nonce, and to whom it answers about what."""
    names = (hello.device_id, hello.source, hello.target)
    return framed(RECEIVER_LABEL, fingerprint, nonce, *(one.encode("ascii") for one in names))


def sender_payload(fingerprint: bytes, receiver: bytes, terms: bytes, wrapped: ImportBlob) -> bytes:
    """Of the sender's party: both TLS certificates' digests, the terms, and the key as it is wrapped."""
    return framed(SENDER_LABEL, fingerprint, receiver, _sha256(terms), _sha256(document_bytes(wrapped)))


def receipt_payload(terms: bytes) -> bytes:
    """Of the receipt."""
    return framed(RECEIPT_LABEL, _sha256(terms))


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
