"""The chain of records of what left this box and what came (policies/spec/domain-flow.md, 8)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_appliance.files import read_file, write_durably
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.flows.documents import FlowStatement, FlowTerms
from sealwright_policies.flows.record import (
    RECORD_LIMIT,
    FlowRecord,
    FlowRole,
    SealedRecord,
    chain_start,
    parse_record,
    require_chain,
    seal_record,
)


@dataclass
class FlowJournal:
    """A file for each record, in a folder for each licence. Safe to use from several threads."""

    root: Path
    device_id: str
    license_id: str
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def load(self, behind: int = 0) -> list[SealedRecord]:
        """Records with a number above ``behind``, in order.

        Raises:
            FormatError, VerificationError: one is damaged, missing or foreign.
        """
        numbers = self._numbers()
        records = []
        for number in numbers:
            if number <= behind:
                continue
            content = read_file(self._file(number), RECORD_LIMIT)
            records.append(parse_record(content or b""))
        require_chain(records)
        if [one.record.sequence for one in records] != [one for one in numbers if one > behind]:
            raise FormatError("Records of flows are not under their numbers.")
        return records

    def last_number(self) -> int:
        """Number of the last record; 0 if there is none."""
        return max(self._numbers(), default=0)

    def append(self, role: FlowRole, terms: bytes, statement: FlowStatement) -> SealedRecord:
        """Write a record, unless the flow has one.

        Raises:
            FormatError, VerificationError: as :meth:`load`, and FLOW_MISMATCH: its record is of other terms.
            OperationError: the disk refuses.
        """
        with self._writing:
            records = self.load()
            last = records[-1] if records else None
            made = seal_record(
                FlowRecord(
                    version=1,
                    device_id=self.device_id,
                    license_id=self.license_id,
                    sequence=last.record.sequence + 1 if last else 1,
                    previous=last.digest if last else chain_start(self.device_id, self.license_id),
                    role=role,
                    terms=terms,
                    statement=statement,
                )
            )
            held = _record_of(records, role, made.terms)
            if held is not None:
                return held
            parse_record(made.content)  # what would not be read again is not written
            write_durably(self._file(made.record.sequence), made.content)
            return made

    def require_same(self, role: FlowRole, terms: FlowTerms) -> None:
        """Demand that a flow has no record yet, or one of these terms.

        Raises:
            FormatError, VerificationError: as :meth:`append`.
        """
        _record_of(self.load(), role, terms)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdigit())

    @property
    def _folder(self) -> Path:
        return self.root / self.license_id

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:012}.json"


def _record_of(records: Sequence[SealedRecord], role: FlowRole, terms: FlowTerms) -> SealedRecord | None:
    """The flow's record. A moved clock changes no flow; another file under its id is another flow."""
    for one in records:
        if one.record.role is role and one.terms.flow_id == terms.flow_id:
            if one.terms.model_copy(update={"at": terms.at}) != terms:
                raise VerificationError(RejectionCode.FLOW_MISMATCH, "this flow id has a record of other terms")
            return one
    return None


def readable(journal: FlowJournal) -> tuple[list[SealedRecord], str]:
    """Records, and what is wrong with them where something is."""
    try:
        return journal.load(), ""
    except (FormatError, VerificationError) as error:
        return [], str(error)
