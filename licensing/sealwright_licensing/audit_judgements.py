"""What persons have said of findings of the audit (policies/spec/transparency.md, 7): each stays in the log for good.

The entry has who and which finding, the operation's row the words. A finding may be gone since, because an upgrade has
entered the row as it was; who signs such a row wants to know all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sealwright_licensing.row_changes import ACKNOWLEDGE, UPGRADE
from sealwright_licensing.store import Value
from sealwright_policies.errors import FormatError
from sealwright_policies.transparency.entries import Entry, OperationEntry
from sealwright_policies.wire.encoding import Document, parse_json

RowPlace = tuple[str, str]
"""Table and key of a row, as entries name it."""
DETAIL_LIMIT = 1 << 16
"""Bytes of the words in the operation's row."""


class Detail(Document):
    """What the operation's row says."""

    place: str
    """Of the finding."""
    finding: str
    judgement: str


@dataclass(slots=True)
class Judgement:
    """One operation ``audit.acknowledge``."""

    entry: str
    """Its place in the log."""
    finding_id: str
    operation_id: str
    actor_kind: str
    actor: str
    at: int
    """Seconds since the epoch."""
    detail: Detail | None = None
    """None without the operation's row: of an export, or of a row that is gone."""
    was_entered: bool = False
    """An upgrade has entered all rows since, that which was judged among them."""

    def document(self) -> dict[str, object]:
        """For ``--json``."""
        said = {"entry": self.entry, "id": self.finding_id, "at": self.at}
        return {**said, "actor_kind": self.actor_kind, "actor": self.actor, **self._words()}

    def line(self) -> str:
        """Who said what, and where it is written."""
        words = self._words()["judgement"]
        return f"{self.entry}, {self.actor_kind} {self.actor}: {words or '(the words are not here)'}"

    def _words(self) -> dict[str, str]:
        one = self.detail
        return {
            "place": one.place if one else "",
            "sentence": one.finding if one else "",
            "judgement": one.judgement if one else "",
        }


class Judgements:
    """All of a log."""

    def __init__(self) -> None:
        self._all: list[Judgement] = []
        self._by_finding: dict[str, Judgement] = {}
        self._by_operation: dict[str, list[Judgement]] = {}

    def __iter__(self) -> Iterator[Judgement]:
        """In the order of the log."""
        return iter(self._all)

    def note(self, place: str, entry: Entry) -> None:
        """Take in an entry."""
        if not isinstance(entry, OperationEntry):
            return
        if entry.operation == UPGRADE:
            for earlier in self._all:
                earlier.was_entered = True
        if entry.operation != ACKNOWLEDGE:
            return
        one = Judgement(place, entry.subject, entry.operation_id, entry.actor_kind, entry.actor, entry.at)
        self._all.append(one)
        self._by_finding.setdefault(entry.subject, one)
        self._by_operation.setdefault(entry.operation_id, []).append(one)

    def read(self, columns: Mapping[str, Value]) -> None:
        """Take in a row of the operators' journal; whether it is as it was written, the audit says."""
        for one in self._by_operation.get(str(columns["operation_id"]), ()):
            one.detail = _detail(str(columns.get("detail", "")))

    def of(self, finding_id: str) -> Judgement | None:
        """The first one about a finding."""
        return self._by_finding.get(finding_id)


def _detail(text: str) -> Detail | None:
    try:
        return parse_json(Detail, text.encode("utf-8", "surrogatepass"), limit=DETAIL_LIMIT)
    except FormatError:
        return None
