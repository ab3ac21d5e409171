"""Records of flows and their chain: what left a box, and what came (policies/spec/domain-flow.md, 8)."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.flows.documents import FlowStatement, FlowTerms
from sealwright_policies.flows.payloads import SENDER_LABEL, receipt_payload
from sealwright_policies.flows.verification import parse_terms, verify_statement
from sealwright_policies.tcg.public import Public
from sealwright_policies.wire.encoding import KIB, Bytes4K, Document, Identifier, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.framing import framed_digest, parse_framed
from sealwright_policies.wire.messages import DeviceId

RECORD_LABEL, CHAIN_LABEL = "sealwright/v1/flow-record", "sealwright/v1/flow-chain"
RECORD_LIMIT = 64 * KIB


class FlowRole(StrEnum):
    """Which side a box was."""

    SENT = "sent"
    RECEIVED = "received"


class FlowRecord(Document):
    """One flow, as one of its two boxes keeps it."""

    version: Annotated[int, Field(ge=1, le=1)]
    device_id: DeviceId
    license_id: Identifier
    sequence: Annotated[int, Field(ge=1, lt=2**48)]
    previous: Sha256Hex
    role: FlowRole
    terms: Bytes4K
    """The bytes of :class:`FlowTerms`."""
    statement: FlowStatement
    """The other side's."""


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record, what it is of, its bytes, and the digest by which it is known."""

    record: FlowRecord
    terms: FlowTerms
    content: bytes
    digest: str


def seal_record(record: FlowRecord) -> SealedRecord:
    """Encode a record."""
    content = document_bytes(record)
    return SealedRecord(record, parse_terms(record.terms), content, record_digest(content))


def parse_record(content: bytes) -> SealedRecord:
    """Read a record in its one encoding.

    Raises:
        FormatError: any other bytes.
        VerificationError: FLOW_MISMATCH: its terms do not have the box on the side that the record says.
    """
    record = parse_json(FlowRecord, content, limit=RECORD_LIMIT)
    if document_bytes(record) != content:
        raise FormatError("FlowRecord: not in canonical encoding.")
    terms = parse_terms(record.terms)
    own = terms.sender if record.role is FlowRole.SENT else terms.receiver
    if (own.device_id, own.license_id) != (record.device_id, record.license_id):
        raise VerificationError(RejectionCode.FLOW_MISMATCH, "the record's terms are of other boxes")
    return SealedRecord(record, terms, content, record_digest(content))


def record_digest(content: bytes) -> str:
    """SHA-256 by which the next record and the service know these bytes; lower-case hex."""
    return framed_digest(RECORD_LABEL, content).hex()


def chain_start(device_id: str, license_id: str) -> str:
    """``previous`` of a box's first record; lower-case hex."""
    return framed_digest(CHAIN_LABEL, device_id.encode("ascii"), license_id.encode("ascii")).hex()


def require_chain(records: Sequence[SealedRecord]) -> None:
    """Demand that records follow each other, and that number 1, and no other, begins the chain.

    Raises:
        VerificationError: FLOW_CHAIN.
    """
    for one in records:
        record = one.record
        start = chain_start(record.device_id, record.license_id)
        if (record.sequence == 1) != (record.previous == start):
            raise _broken("a chain begins with record 1 and with nothing else")
    for before, after in itertools.pairwise(records):
        old, new = before.record, after.record
        same = (old.device_id, old.license_id) == (new.device_id, new.license_id)
        if not same or new.sequence != old.sequence + 1 or new.previous != before.digest:
            raise _broken(f"record {new.sequence} does not follow record {old.sequence}")


def verify_record_statement(sealed: SealedRecord, ak: Public) -> None:
    """Demand that what a record holds of the other side is by its AK, and speaks for these terms.

    Args:
        sealed: a record.
        ak: public area of the other side's AK.

    Raises:
        VerificationError: FLOW_MISMATCH, or as for a quote.
    """
    record, terms = sealed.record, sealed.terms
    statement = record.statement
    if record.role is FlowRole.SENT:
        speaks = statement.payload == receipt_payload(record.terms)
    else:
        speaks = parse_framed(SENDER_LABEL, 4, statement.payload)[2] == hashlib.sha256(record.terms).digest()
    if not speaks:
        raise VerificationError(RejectionCode.FLOW_MISMATCH, "the other side's quote speaks for other terms")
    verify_statement(statement, ak, terms.receiver if record.role is FlowRole.SENT else terms.sender)


def _broken(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.FLOW_CHAIN, sentence)
