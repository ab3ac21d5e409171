"""The metering report and its acknowledgement (policies/spec/metering.md, 3 and 5)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.metering.receipt import ChainId, Point, SealedReceipt, chain_start, parse_receipt
from sealwright_policies.wire.encoding import KIB, Bytes1M, Bytes4K, Document, Identifier, Sha256Hex, parse_json
from sealwright_policies.wire.envelope import load_ed25519_public_key, sign_jws, verify_jws
from sealwright_policies.wire.messages import DeviceId, Evidence
from sealwright_policies.wire.service import LicenseService

RECEIPTS_MOST = 64
"""Receipts in one report."""
REPORT_BYTES_MOST = KIB * KIB
"""Of its receipts together: with both logs the message stays below its limit."""
ACK_TYPE = "sealwright-metering-ack+jwt"
ACK_LIMIT = 64 * KIB


class MeteringHead(Document):
    """Payload of the report's evidence: where the chain stands."""

    version: Annotated[int, Field(ge=1, le=1)]
    chain_id: ChainId
    sequence: Annotated[int, Field(ge=1, lt=2**48)]
    digest: Sha256Hex


class MeteringReport(Document):
    """``POST /v1/metering``, and the metering part of a request by file."""

    device_id: DeviceId
    license_id: Identifier
    """Under which the device is enrolled now."""
    release_id: Sha256Hex
    nonce: Bytes4K
    receipts: Annotated[list[Bytes1M], Field(min_length=1, max_length=RECEIPTS_MOST)]
    """Each the bytes of one receipt, oldest first."""
    evidence: Evidence


class MeteringFinding(Document):
    """Something odd about a receipt that is stored all the same."""

    code: RejectionCode
    sequence: int
    sentence: str


class Acknowledgement(Document):
    """The service has stored a chain up to this receipt."""

    version: Annotated[int, Field(ge=1, le=1)]
    device_id: DeviceId
    chain_id: ChainId
    sequence: int
    digest: Sha256Hex
    findings: Annotated[list[MeteringFinding], Field(max_length=RECEIPTS_MOST)]


class MeteringReply(Document):
    """The reply: a signed :class:`Acknowledgement`."""

    acknowledgement: Annotated[str, Field(max_length=ACK_LIMIT)]


def head_of(receipts: Sequence[SealedReceipt]) -> MeteringHead:
    """The head that the last of them is."""
    last = receipts[-1]
    return MeteringHead(version=1, chain_id=last.receipt.chain_id, sequence=last.receipt.sequence, digest=last.digest)


def verify_receipts(report: MeteringReport) -> tuple[SealedReceipt, ...]:
    """Read a report's receipts: of this device, each following the one before, the last being the attested head.

    Raises:
        FormatError: a receipt or the head is malformed, or there are too many bytes.
        VerificationError: METERING_CHAIN.
    """
    if sum(map(len, report.receipts)) > REPORT_BYTES_MOST:
        raise _broken(f"the receipts of one report have more than {REPORT_BYTES_MOST} bytes")
    receipts = tuple(parse_receipt(content) for content in report.receipts)
    head = parse_json(MeteringHead, report.evidence.payload, limit=4 * KIB)
    first = receipts[0].receipt
    if first.device_id != report.device_id:
        raise _broken("the receipts are of another device")
    start = chain_start(first.chain_id, first.device_id, first.license_id)
    if (first.sequence == 1) != (first.previous == start):
        raise _broken("a chain begins with receipt 1 and with nothing else")
    for before, after in itertools.pairwise(receipts):
        require_successor(before, after)
    if head != head_of(receipts):
        raise _broken("the attested head is not the last receipt")
    return receipts


def require_successor(before: SealedReceipt, after: SealedReceipt) -> None:
    """Demand that one receipt follows another.

    Raises:
        VerificationError: METERING_CHAIN.
    """
    old, new = before.receipt, after.receipt
    same = (old.device_id, old.license_id, old.chain_id) == (new.device_id, new.license_id, new.chain_id)
    if not same or new.sequence != old.sequence + 1 or new.previous != before.digest or new.opened != old.closed:
        raise _broken(f"receipt {new.sequence} does not follow receipt {old.sequence}")


def require_not_ahead(receipts: Sequence[SealedReceipt], shown: Point) -> None:
    """Demand that no receipt was closed later than the evidence was made: its points are the TPM's.

    Raises:
        VerificationError: METERING_CHAIN.
    """
    for one in receipts:
        if one.receipt.closed.is_after(shown):
            raise _broken(f"receipt {one.sequence} was closed behind what the TPM shows")


def sign_acknowledgement(acknowledgement: Acknowledgement, key: Ed25519PrivateKey) -> str:
    """Sign it with the lease-document key; its type keeps it apart from leases."""
    return sign_jws(acknowledgement, ACK_TYPE, key)


def verify_acknowledgement(token: str, service: LicenseService) -> Acknowledgement:
    """Verify an acknowledgement of the service that the box knows.

    Raises:
        FormatError: no such document.
        VerificationError: DOCUMENT_TYPE or DOCUMENT_SIGNATURE.
    """
    key = load_ed25519_public_key(service.lease_document_key)
    return verify_jws(token, Acknowledgement, ACK_TYPE, key, limit=ACK_LIMIT)


def _broken(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.METERING_CHAIN, sentence)
