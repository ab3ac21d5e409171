"""The customer's documents on the state volume: one SQLite database, with two indexes of the passages.

What is kept is text, not the files. Deleting overwrites: SQLite zeroes what a row or a page held (``secure_delete``),
and the indexes are merged so that no term of a deleted passage stays in one (policies/spec/own-documents.md, 4).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sealwright_appliance.documents.messages import DOCUMENTS_MOST, FoundPassage, KeptDocument
from sealwright_appliance.documents.passages import Passage
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.terms import folded, question_trigrams, question_words, words_of

DATABASE = "documents.sqlite"
SCHEMA = 1
"""``PRAGMA user_version``: of the tables, and of what :mod:`.terms` puts into the indexes."""
TEXT_BYTES_MOST = 64 * 1024 * 1024
"""Of all documents together, in UTF-8."""
GROWTH = 10
"""Bytes on the disk for one of text, indexes included, at most (of 1 MiB: 5.4 English, 8.0 Chinese, 9.0 noise)."""
RESERVE_BYTES = 32 * 1024 * 1024
"""Of the state volume, left for leases and whatever else the box must remember."""
BUSY_S = 30.0
"""Longest wait for somebody who is changing something; merging the largest indexes takes minutes."""
RANKED = 100
"""Passages of each index that are compared."""
RANK_OFFSET = 60
"""Of reciprocal rank fusion (Cormack and others, SIGIR 2009)."""
INDEXES = ("trigrams", "words")
_TABLES = """
CREATE TABLE documents (id INTEGER PRIMARY KEY, public_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    size INTEGER NOT NULL, created INTEGER NOT NULL, pages INTEGER, passages INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL);
CREATE TABLE passages (id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), page INTEGER,
    paragraph INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX passages_of_document ON passages (document);
CREATE VIRTUAL TABLE trigrams USING fts5 (text, content='', tokenize='trigram');
CREATE VIRTUAL TABLE words USING fts5 (text, content='', tokenize='unicode61');
"""
_KEPT = "SELECT public_id, name, size, created, pages, passages FROM documents"


class DocumentStore:
    """The database in a folder. Safe to use from several threads: each call opens it anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, size: int, found: Sequence[Passage], now: int) -> KeptDocument:
        """Keep a document, or nothing of it.

        Raises:
            DocumentError: there is no room, or the database cannot be used.
        """
        text_bytes = sum(len(passage.text.encode()) for passage in found)
        pages = [passage.page for passage in found if passage.page is not None]
        kept = KeptDocument(
            document_id=f"file-{secrets.token_hex(12)}",
            name=name,
            size=size,
            created=now,
            pages=max(pages) if pages else None,
            passages=len(found),
        )
        with self._changing() as database:
            self._require_room(database, text_bytes)
            row = (kept.document_id, name, size, now, kept.pages, len(found), text_bytes)
            document = database.execute(
                "INSERT INTO documents (public_id, name, size, created, pages, passages, text_bytes)"
                " VALUES (?,?,?,?,?,?,?)",
                row,
            ).lastrowid
            for passage in found:
                number = database.execute(
                    "INSERT INTO passages (document, page, paragraph, text) VALUES (?,?,?,?)",
                    (document, passage.page, passage.paragraph, passage.text),
                ).lastrowid
                for index, text in _indexed(passage.text):
                    database.execute(f"INSERT INTO {index} (rowid, text) VALUES (?,?)", (number, text))  # noqa: S608
        return kept

    def all(self) -> list[KeptDocument]:
        """Every document, the youngest first."""
        with self._open() as database:
            return [_kept(row) for row in database.execute(f"{_KEPT} ORDER BY id DESC")]

    def one(self, document_id: str) -> KeptDocument:
        """A document.

        Raises:
            DocumentError: there is none of this id.
        """
        with self._open() as database:
            row = database.execute(f"{_KEPT} WHERE public_id = ?", (document_id,)).fetchone()
        if row is None:
            raise DocumentError(DocumentCode.UNKNOWN)
        return _kept(row)

    def delete(self, document_id: str) -> None:
        """Forget a document: no file of the folder holds any of its text behind this.

        Raises:
            DocumentError: there is none of this id.
        """
        with self._changing() as database:
            row = database.execute("SELECT id FROM documents WHERE public_id = ?", (document_id,)).fetchone()
            if row is None:
                raise DocumentError(DocumentCode.UNKNOWN)
            for number, text in database.execute("SELECT id, text FROM passages WHERE document = ?", row).fetchall():
                for index, indexed in _indexed(text):
                    command = f"INSERT INTO {index} ({index}, rowid, text) VALUES ('delete', ?, ?)"  # noqa: S608
                    database.execute(command, (number, indexed))
            database.execute("DELETE FROM passages WHERE document = ?", row)
            database.execute("DELETE FROM documents WHERE id = ?", row)
            for index in INDEXES:
                # FTS5 only notes what is deleted; merging all of an index into one piece drops it.
                database.execute(f"INSERT INTO {index} ({index}) VALUES ('optimize')")  # noqa: S608

    def search(self, question: str, most: int) -> list[FoundPassage]:
        """The passages that fit a question best, the best first: the ranks in both indexes decide."""
        scores: dict[int, float] = {}
        with self._open() as database:
            for index, query in zip(INDEXES, (question_trigrams(question), question_words(question)), strict=True):
                if not query:
                    continue
                ranked = f"SELECT rowid FROM {index} WHERE {index} MATCH ? ORDER BY rank LIMIT {RANKED}"  # noqa: S608
                for rank, (number,) in enumerate(database.execute(ranked, (query,)), start=1):
                    scores[number] = scores.get(number, 0.0) + 1 / (RANK_OFFSET + rank)
            best = sorted(scores, key=lambda number: (-scores[number], number))[:most]
            return [self._passage(database, number, scores[number]) for number in best]

    @staticmethod
    def _passage(database: sqlite3.Connection, number: int, score: float) -> FoundPassage:
        row = database.execute(
            "SELECT public_id, name, page, paragraph, text FROM passages JOIN documents ON documents.id = document"
            " WHERE passages.id = ?",
            (number,),
        ).fetchone()
        highest = len(INDEXES) / (RANK_OFFSET + 1)
        return FoundPassage(
            document_id=row[0], name=row[1], page=row[2], paragraph=row[3], text=row[4], score=round(score / highest, 4)
        )

    def _require_room(self, database: sqlite3.Connection, text_bytes: int) -> None:
        count, held = database.execute("SELECT count(*), coalesce(sum(text_bytes), 0) FROM documents").fetchone()
        if count >= DOCUMENTS_MOST or held + text_bytes > TEXT_BYTES_MOST:
            raise DocumentError(DocumentCode.FULL)
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < GROWTH * text_bytes + RESERVE_BYTES:
            raise DocumentError(DocumentCode.DISK_FULL)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds whole or not at all."""
        with self._open() as database, database:  # which commits, or rolls back
            database.execute("BEGIN IMMEDIATE")
            yield database

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self._folder.is_dir():
            raise DocumentError(DocumentCode.UNAVAILABLE)
        try:
            with closing(sqlite3.connect(self._folder / DATABASE, timeout=BUSY_S, isolation_level=None)) as database:
                _prepare(database)
                yield database
        except sqlite3.Error as error:
            known = {sqlite3.SQLITE_FULL: DocumentCode.DISK_FULL, sqlite3.SQLITE_BUSY: DocumentCode.BUSY}
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            raise DocumentError(known.get(code, DocumentCode.UNREADABLE)) from None


def _prepare(database: sqlite3.Connection) -> None:
    """Settings, which a connection forgets, and the tables of a new file."""
    database.execute("PRAGMA auto_vacuum = FULL")
    database.execute("PRAGMA secure_delete = ON")
    database.execute("PRAGMA temp_store = MEMORY")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in _TABLES.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {SCHEMA}")
        database.execute("COMMIT")
    elif version != SCHEMA:
        raise DocumentError(DocumentCode.UNREADABLE)


def _indexed(text: str) -> Iterator[tuple[str, str]]:
    """What stands in each index of a passage."""
    yield "trigrams", folded(text)
    yield "words", words_of(text)


def _kept(row: Sequence[object]) -> KeptDocument:
    return KeptDocument.model_validate(
        dict(zip(("document_id", "name", "size", "created", "pages", "passages"), row, strict=True))
    )
