"""The audit (policies/spec/transparency.md, 7): is the log whole, is it what was signed, and do the rows agree with it?

Works on a :class:`Source`, a database or an export, without the service. Finds all that is wrong, not the first; but of
tables that are not what the migrations make it reads nothing, for they may show it something else than the service.
What this does not do: tell a log that was rewritten by whoever holds the log key, unless a checkpoint that somebody
kept is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealwright_licensing.audit_judgements import Judgement, Judgements, RowPlace
from sealwright_licensing.audit_rows import Causes, ExpectedRows, StoredRow
from sealwright_licensing.records import Operation
from sealwright_licensing.row_changes import AUDITED, search_fields
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import FormatError, RejectionCode, SealwrightError, VerificationError
from sealwright_policies.transparency.entries import Entry, LogKeyEntry, parse_entry
from sealwright_policies.transparency.key_schedule import KeySchedule
from sealwright_policies.transparency.merkle import HASH_SIZE, leaf_hash, node_hash, root_at
from sealwright_policies.wire.framing import FINDING_LABEL, framed_digest

ENTRY = "entry "
"""Begins the place of an entry, before its number."""
MOST_FINDINGS = 1000
"""Findings that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it stands: its number, its leaf, and what it is found by."""

    index: int
    leaf: bytes
    fields: tuple[str, int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class StoredNote:
    """A checkpoint, and where it was found."""

    where: str
    note: str
    size: int | None = None
    """The size that it is stored under; None of one that stands alone."""


class Source(Protocol):
    """What is audited, all of one moment."""

    def differences(self) -> Iterator[tuple[str, str]]:
        """Place and sentence of what may keep the rest from being what the service reads. Asked first."""

    def entries(self) -> Iterator[StoredEntry]:
        """Entries, lowest number first."""

    def waiting(self) -> Iterator[StoredEntry]:
        """Entries without a number, in the order of writing."""

    def nodes(self, level: int) -> Iterator[tuple[int, bytes]] | None:
        """Stored subtrees of a level, lowest index first; None where none are kept."""

    def highest_level(self) -> int:
        """Of a stored subtree."""

    def checkpoints(self) -> list[StoredNote]:
        """Stored checkpoints, oldest first."""

    def rows(self, kind: type[Any]) -> Iterator[StoredRow] | None:
        """The rows of an audited table as they are; None where there are none to compare."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the log has it."""

    place: str
    """An entry, a subtree, a checkpoint, a thing in the database's schema, or table and key of a row."""
    sentence: str
    state: tuple[str, ...] | None = None
    """Of an entry its hash. Of a row its digest, empty for none; how many entries are about it; the hash of the last
    of them, empty for none. None of the log itself."""
    rows: tuple[RowPlace, ...] = ()
    """Those that it is about."""

    @property
    def finding_id(self) -> str:
        """By which a person may acknowledge it; empty of what nobody may."""
        if self.state is None:
            return ""
        return framed_digest(FINDING_LABEL, *(one.encode() for one in (self.place, self.sentence, *self.state))).hex()

    def document(self) -> dict[str, str]:
        """For ``--json``."""
        return {"id": self.finding_id, "place": self.place, "sentence": self.sentence}


@dataclass
class Report:
    """What the audit has come to."""

    entries: int = 0
    waiting: int = 0
    """Entries that no checkpoint covers yet."""
    checkpoints: int = 0
    rows: int = 0
    upgrades: list[str] = field(default_factory=list)
    """Entries of upgrades of the schema, which enter all rows anew."""
    earlier_changes: int = 0
    """Changes without a cause by versions that named none."""
    found: int = 0
    findings: list[Finding] = field(default_factory=list)
    judgements: Judgements = field(default_factory=Judgements)
    """What persons have said of findings, whether these are still to be seen or not."""
    acknowledged: list[tuple[Finding, Judgement]] = field(default_factory=list)
    """Findings that they have judged and that are still to be seen."""

    def add(
        self, place: str, sentence: str, state: tuple[str, ...] | None = None, rows: Sequence[RowPlace] = ()
    ) -> None:
        """Note a finding."""
        finding = Finding(place, sentence, state, tuple(rows))
        judgement = None if state is None else self.judgements.of(finding.finding_id)
        if judgement is not None:
            self.acknowledged.append((finding, judgement))
            return
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def judged_rows(self) -> frozenset[RowPlace]:
        """Rows that judged findings are about, or were about until an upgrade entered them as they were.

        Whoever judged one did not vouch for a signature over it.

        Raises:
            VerificationError: AUDIT_MISMATCH: what one was about cannot be told any more.
        """
        seen = {finding.finding_id for finding, _ in self.acknowledged}
        rows = {row for finding, _ in self.acknowledged for row in finding.rows}
        for one in self.judgements:
            if one.finding_id in seen or not one.was_entered:
                continue
            if one.detail is None:
                raise VerificationError(
                    RejectionCode.AUDIT_MISMATCH,
                    f"{one.entry}: it acknowledges a finding, and which one cannot be read any more",
                )
            table, _, key = one.detail.place.partition(" ")
            rows.add((table, key))
        return frozenset(rows)

    def require_clean(self, consequence: str = "") -> None:
        """Refuse if anything was found.

        Args:
            consequence: a sentence on what is not done therefore, and the cure.

        Raises:
            VerificationError: AUDIT_MISMATCH.
        """
        if self.found:
            first = self.findings[0]
            said = f"{self.found} findings; the first: {first.place}: {first.sentence}"
            raise VerificationError(
                RejectionCode.AUDIT_MISMATCH,
                f"{said}. {consequence}" if consequence else said,
                findings=[one.document() for one in self.findings],
            )


def audit(
    source: Source,
    keys: Sequence[Ed25519PublicKey],
    origin: str,
    kept: Sequence[StoredNote] = (),
    *,
    schema: str | None = None,
) -> Report:
    """Verify a log from its leaves up, and the rows against it.

    Args:
        keys: of the log, earlier ones as well; the current one last.
        kept: checkpoints that the auditor has from elsewhere.
        schema: revision of a database that is about to be upgraded: what versions of that schema did not say is
            forgiven, as it is behind the upgrade's entry.
    """
    report, tree, schedule = Report(), Tree(), KeySchedule(keys, origin)
    for difference in source.differences():
        report.add(*difference)
    if report.found:
        return report
    expected, causes = ExpectedRows(), Causes()

    def play(stored: StoredEntry) -> None:
        place = f"{ENTRY}{stored.index}" if stored.index >= 0 else "a waiting entry"
        entry = _parsed(stored, place, report)
        if entry is None:
            return
        causes.note(place, entry)
        expected.play(place, entry)
        report.judgements.note(place, entry)
        if not isinstance(entry, LogKeyEntry):
            return
        if stored.index < 0:
            report.add(place, "it is about a key of the log: such an entry never waits")
        elif not schedule.note(stored.index, entry):
            report.add(place, "it retires the current key of the log")

    for stored in source.entries():
        if stored.index != tree.size:
            report.add(f"entry {stored.index}", f"the number does not follow on {tree.size - 1}")
        tree.append(stored.leaf)
        play(stored)
    tree.grow()
    report.entries = tree.size
    _compare_nodes(source, tree, report)
    _compare_checkpoints(source.checkpoints(), tree, schedule, report)
    for note in kept:
        _verify_note(note, tree, schedule, report)
    for stored in source.waiting():
        report.waiting += 1
        play(stored)
    if schema is not None:
        causes.forgive(schema)
    for place, rows in causes.missing:
        report.add(place, "a change that neither a decision nor an operation speaks for", tree.leaf_at(place), rows)
    for place, rows in causes.without_before:
        report.add(place, "it does not say how it found a row", tree.leaf_at(place), rows)
    for place, row in expected.found_otherwise:
        sentence = f"it did not find {' '.join(row)} as the entry before had left it"
        report.add(place, sentence, tree.leaf_at(place), [row])
    report.upgrades, report.earlier_changes = causes.upgrades, causes.earlier
    wrong = [one for kind in AUDITED for one in _wrong_rows(source, kind, expected, report)]
    wrong += [WrongRow(place, "the row is missing", "") for place in expected.left()]
    _add_rows(source, wrong, report)
    return report


class Tree:
    """All subtree hashes of a log, 64 bytes an entry."""

    def __init__(self) -> None:
        self.levels = [bytearray()]

    @property
    def size(self) -> int:
        """Entries."""
        return len(self.levels[0]) // HASH_SIZE

    def append(self, leaf: bytes) -> None:
        """Append an entry; :meth:`grow` is called when all are there."""
        self.levels[0] += leaf_hash(leaf)

    def grow(self) -> None:
        """Compute the levels above the leaves."""
        while len(self.levels[-1]) >= 2 * HASH_SIZE:
            below, above = self.levels[-1], bytearray()
            for at in range(0, len(below) - HASH_SIZE, 2 * HASH_SIZE):
                above += node_hash(bytes(below[at : at + HASH_SIZE]), bytes(below[at + HASH_SIZE : at + 2 * HASH_SIZE]))
            self.levels.append(above)

    def leaf_at(self, place: str) -> tuple[str] | None:
        """The hash of an entry, hex, by its place; None of one that waits for its number."""
        number = place.removeprefix(ENTRY)
        return (self.read(0, int(number)).hex(),) if number.isdecimal() else None

    def read(self, level: int, index: int) -> bytes:
        """One of them."""
        return bytes(self.levels[level][index * HASH_SIZE : (index + 1) * HASH_SIZE])


def _parsed(stored: StoredEntry, place: str, report: Report) -> Entry | None:
    try:
        entry = parse_entry(stored.leaf)
    except FormatError as error:
        report.add(place, f"it cannot be read: {error}")
        return None
    if stored.fields != search_fields(entry):
        report.add(place, "what it is found by is not what it says")
    return entry


def _compare_nodes(source: Source, tree: Tree, report: Report) -> None:
    for level in range(max(source.highest_level() + 1, len(tree.levels))):
        stored = source.nodes(level)
        if stored is None:
            return
        count = len(tree.levels[level]) // HASH_SIZE if level < len(tree.levels) else 0
        wanted = 0
        for index, found in stored:
            while wanted < min(index, count):
                report.add(f"subtree {level}/{wanted}", "its hash is missing")
                wanted += 1
            if index >= count or index < wanted:
                report.add(f"subtree {level}/{index}", "there is no such subtree")
                continue
            if found != tree.read(level, index):
                report.add(f"subtree {level}/{index}", "its hash is not that of the entries below it")
            wanted = index + 1
        for index in range(wanted, count):
            report.add(f"subtree {level}/{index}", "its hash is missing")


def _compare_checkpoints(notes: Sequence[StoredNote], tree: Tree, schedule: KeySchedule, report: Report) -> None:
    sizes = [_verify_note(note, tree, schedule, report) for note in notes]
    newest = max(sizes, default=0)
    if newest:
        # An earlier key alone could not only sign another history but leave out of it that it was retired.
        note = notes[sizes.index(newest)]
        try:
            schedule.verify_current(note.note)
        except VerificationError as error:
            report.add(note.where, f"the newest one is not signed by the current key: {error}")
    if newest < tree.size:
        report.add(f"entry {newest}", f"no checkpoint covers it, nor what is behind it up to {tree.size - 1}")


def _verify_note(note: StoredNote, tree: Tree, schedule: KeySchedule, report: Report) -> int:
    """Verify one checkpoint against the tree; returns its size."""
    try:
        checkpoint = schedule.verify(note.note)
    except SealwrightError as error:
        report.add(note.where, str(error))
        return 0
    report.checkpoints += 1
    if note.size not in (None, checkpoint.size):
        report.add(note.where, f"it is stored under another size than its own, {checkpoint.size}")
    if checkpoint.size > tree.size:
        report.add(note.where, f"it is over {checkpoint.size} entries, the log has {tree.size}: entries were removed")
    elif root_at(tree.read, checkpoint.size) != checkpoint.root:
        report.add(note.where, f"the first {checkpoint.size} entries are not those that were signed")
    return checkpoint.size


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that is not as the log has it."""

    place: RowPlace
    sentence: str
    sha256: str
    """Empty if it is missing."""


def _wrong_rows(source: Source, kind: type[Any], expected: ExpectedRows, report: Report) -> Iterator[WrongRow]:
    rows = source.rows(kind)
    if rows is None:
        expected.drop(TABLES[kind].name)
        return
    for row in rows:
        report.rows += 1
        if kind is Operation:
            report.judgements.read(row.columns)
        sentence = expected.compare(row)
        if sentence:
            yield WrongRow((row.state.table, row.state.key), sentence, row.state.sha256 or "")


def _add_rows(source: Source, wrong: Sequence[WrongRow], report: Report) -> None:
    """Add findings about rows, each with what the log has of the row: another entry makes it another finding.

    Reads the log once more, so that an audit that finds nothing need not keep this of every row, those that are gone
    included.
    """
    if not wrong:
        return
    known: dict[RowPlace, tuple[int, bytes]] = {one.place: (0, b"") for one in wrong}
    for stored in chain(source.entries(), source.waiting()):
        try:
            entry = parse_entry(stored.leaf)
        except FormatError:  # a finding already
            continue
        for row in getattr(entry, "rows", ()):
            place = row.table, row.key
            if place in known:
                known[place] = known[place][0] + 1, leaf_hash(stored.leaf)
    for one in wrong:
        count, last = known[one.place]
        report.add(" ".join(one.place), one.sentence, (one.sha256, str(count), last.hex()), [one.place])
