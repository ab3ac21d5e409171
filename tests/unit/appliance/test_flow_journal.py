"""A flow has one record, and a record is of one flow."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from sealwright_appliance.flows.journal import FlowJournal
from sealwright_appliance.flows.reporting import FlowReporting, Reported
from sealwright_appliance.renewal import Renewal
from sealwright_policies.errors import VerificationError
from sealwright_policies.flows.record import FlowRole, SealedRecord
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.flow_vectors import record_of, terms


@pytest.fixture
def journal(tmp_path: Path) -> FlowJournal:
    """Of the vectors' receiver, empty."""
    receiver = terms().receiver
    return FlowJournal(tmp_path, receiver.device_id, receiver.license_id)


def recorded(journal: FlowJournal, **changes: Any) -> SealedRecord:
    """The record of a flow that was received."""
    content = document_bytes(terms(**changes))
    return journal.append(FlowRole.RECEIVED, content, record_of(role=FlowRole.RECEIVED).record.statement)


def test_a_flow_that_is_offered_again_keeps_its_record(journal: FlowJournal) -> None:
    """The sender's clock has gone on; nothing else."""
    first = recorded(journal)
    assert recorded(journal, at=1_800_000_600) == first
    assert journal.load() == [first]
    journal.require_same(FlowRole.RECEIVED, terms(at=1_800_000_600))
    journal.require_same(FlowRole.SENT, terms(name="other.csv"))


@pytest.mark.parametrize("changes", [{"name": "other.csv"}, {"digest": "00" * 32}, {"size": 7}])
def test_an_id_that_was_used_hides_no_other_flow(journal: FlowJournal, changes: dict[str, Any]) -> None:
    """Else a file would come without a record."""
    recorded(journal)
    with pytest.raises(VerificationError, match="FLOW_MISMATCH"):
        journal.require_same(FlowRole.RECEIVED, terms(**changes))
    with pytest.raises(VerificationError, match="FLOW_MISMATCH"):
        recorded(journal, **changes)
    assert recorded(journal, flow_id="1e" * 16, **changes).record.sequence == 2


@pytest.mark.parametrize(("says", "told"), [(0, 2), (1, 1), (2, 0), (3, 2), (2**40, 2)])
def test_what_is_remembered_of_reports_hides_no_record(
    journal: FlowJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: int, told: int
) -> None:
    """Above the last record it is not of this chain; the service stores no record twice."""
    for number in range(2):
        recorded(journal, flow_id=f"{number:02x}" * 16)
    reported = tmp_path / "reported.json"
    reported.write_bytes(document_bytes(Reported(version=1, license_id=journal.license_id, sequence=says)))
    sent: list[SealedRecord] = []
    monkeypatch.setattr(FlowReporting, "_send", lambda _, records: sent.extend(records))
    reporting = FlowReporting(cast(Renewal, None), journal, threading.Lock(), reported)
    assert reporting.report() == told == len(sent)
    assert reporting.report() == 0
