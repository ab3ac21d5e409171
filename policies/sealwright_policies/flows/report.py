"""The report of flows to the licence service (policies/spec/domain-flow.md, 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.flows.record import SealedRecord, parse_record, require_chain
from sealwright_policies.wire.encoding import KIB, Bytes4K, Bytes64K, Document, Identifier, Sha256Hex, parse_json
from sealwright_policies.wire.messages import DeviceId, Evidence

RECORDS_MOST = 64
"""Records in one report."""
REPORT_BYTES_MOST = KIB * KIB
"""Of its records together."""
FLOW_REPORT = "flow-report"


class FlowHead(Document):
    """Payload of the report's evidence: where the chain stands."""

    version: Annotated[int, Field(ge=1, le=1)]
    chain: Annotated[str, Field(pattern=f"^{FLOW_REPORT}$")]
    sequence: Annotated[int, Field(ge=1, lt=2**48)]
    digest: Sha256Hex


class FlowReport(Document):
    """``POST /v1/flows``."""

    device_id: DeviceId
    license_id: Identifier
    release_id: Sha256Hex
    nonce: Bytes4K
    records: Annotated[list[Bytes64K], Field(min_length=1, max_length=RECORDS_MOST)]
    """Each the bytes of one record, oldest first."""
    evidence: Evidence


class FlowReply(Document):
    """The service has stored a chain up to this record."""

    sequence: Annotated[int, Field(ge=1, lt=2**48)]
    digest: Sha256Hex


def head_of(records: Sequence[SealedRecord]) -> FlowHead:
    """The head that the last of them is."""
    last = records[-1]
    return FlowHead(version=1, chain=FLOW_REPORT, sequence=last.record.sequence, digest=last.digest)


def verify_records(report: FlowReport) -> tuple[SealedRecord, ...]:
    """Read a report's records: of this device and licence, each following the one before, the last the attested head.

    Raises:
        FormatError: a record or the head is malformed.
        VerificationError: FLOW_CHAIN, FLOW_MISMATCH.
    """
    if sum(map(len, report.records)) > REPORT_BYTES_MOST:
        raise _broken(f"the records of one report have more than {REPORT_BYTES_MOST} bytes")
    records = tuple(parse_record(content) for content in report.records)
    head = parse_json(FlowHead, report.evidence.payload, limit=4 * KIB)
    first = records[0].record
    if (first.device_id, first.license_id) != (report.device_id, report.license_id):
        raise _broken("the records are of another device or licence")
    require_chain(records)
    if head != head_of(records):
        raise _broken("the attested head is not the last record")
    return records


def _broken(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.FLOW_CHAIN, sentence)
