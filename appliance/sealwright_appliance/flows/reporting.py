"""Reports of flows to the licence service (policies/spec/domain-flow.md, 9), behind the metering report."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.flows.journal import FlowJournal
from sealwright_appliance.renewal import Renewal, evidence_for, next_nonce, report_with_nonce
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.errors import FormatError
from sealwright_policies.flows.record import SealedRecord
from sealwright_policies.flows.report import RECORDS_MOST, REPORT_BYTES_MOST, FlowReport, head_of
from sealwright_policies.wire.encoding import Document, Identifier, document_bytes, parse_json
from sealwright_policies.wire.messages import Purpose

REPORTED_LIMIT = 4096


class Reported(Document):
    """How far the service has the chain."""

    version: Annotated[int, Field(ge=1, le=1)]
    license_id: Identifier
    sequence: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class FlowReporting:
    """Killed after any step, the next report sends the same records, and the service stores them once."""

    renewal: Renewal
    journal: FlowJournal
    tpm_lock: threading.Lock
    """Held only while the TPM is asked."""
    reported: Path

    def report(self) -> int:
        """Report everything that the service has not got; how many records it was.

        Raises:
            DeniedError, ServiceUnreachableError: from the service.
            FormatError, VerificationError: the records are damaged.
            OperationError: from the TPM or the disk.
        """
        told = 0
        while records := _first(self.journal.load(behind=self._reported())):
            self._send(records)
            last = records[-1].record
            made = Reported(version=1, license_id=last.license_id, sequence=last.sequence)
            write_durably(self.reported, document_bytes(made))
            told += len(records)
        return told

    def _send(self, records: Sequence[SealedRecord]) -> None:
        client = self.renewal.client
        report_with_nonce(self.renewal, Purpose.FLOW, lambda nonce: client.report_flows(self._make(records, nonce)))

    def _reported(self) -> int:
        content = read_file(self.reported, REPORTED_LIMIT)
        try:
            held = parse_json(Reported, content, limit=REPORTED_LIMIT) if content is not None else None
        except FormatError:
            held = None  # the service stores no record twice
        if held is None or held.license_id != self.journal.license_id or held.sequence > self.journal.last_number():
            return 0
        return held.sequence

    def _make(self, records: Sequence[SealedRecord], nonce: bytes | None) -> FlowReport:
        renewal = self.renewal
        identity = renewal.identity
        with self.tpm_lock, open_provisioned_tpm(renewal.paths.tcti) as tpm:
            chosen = nonce or next_nonce(renewal.store, tpm.lease_number(), renewal.release_id) or bytes(32)
            return FlowReport(
                device_id=identity.device_id,
                license_id=identity.license_id,
                release_id=renewal.release_id,
                nonce=chosen,
                records=[one.content for one in records],
                evidence=evidence_for(renewal, tpm, chosen, Purpose.FLOW, payload=document_bytes(head_of(records))),
            )


def _first(records: Sequence[SealedRecord]) -> list[SealedRecord]:
    """As many as one report takes."""
    taken: list[SealedRecord] = []
    size = 0
    for one in records[:RECORDS_MOST]:
        size += len(one.content)
        if size > REPORT_BYTES_MOST:
            break
        taken.append(one)
    return taken
