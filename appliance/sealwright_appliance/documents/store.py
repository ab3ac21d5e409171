"""The customer's documents on the state volume: one SQLite database, with indexes of the passages, and their vectors.

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

from sealwright_appliance.documents.fusion import fused
from sealwright_appliance.documents.messages import (
    DOCUMENTS_MOST,
    VECTORS_MOST,
    FoundPassage,
    KeptDocument,
    MadeVector,
    PendingPassage,
    VectorUse,
)
from sealwright_appliance.documents.passages import Passage
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.terms import folded, question_trigrams, question_words, words_of
from sealwright_appliance.documents.vectors import QuestionVector, text_digest, vector_bytes

DATABASE = "documents.sqlite"
TEXT_BYTES_MOST = 64 * 1024 * 1024
"""Of all documents together, in UTF-8."""
GROWTH = 10
"""Bytes on the disk for one of text, indexes included, at most (of 1 MiB: 5.4 English, 8.0 Chinese, 9.0 noise)."""
RESERVE_BYTES = 32 * 1024 * 1024
"""Of the state volume, left for leases and whatever else the box must remember."""
BUSY_S = 30.0
"""Longest wait for somebody who is changing something; merging the largest indexes takes minutes."""
RANKED = 100
"""Passages of each index, and the nearest, that are compared."""
FARTHEST = 1.0
"""Cosine distance of what has nothing in common."""
INDEXES = ("trigrams", "words")
_TEXTS = """
CREATE TABLE documents (id INTEGER PRIMARY KEY, public_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    size INTEGER NOT NULL, created INTEGER NOT NULL, pages INTEGER, passages INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL);
CREATE TABLE passages (id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), page INTEGER,
    paragraph INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX passages_of_document ON passages (document);
CREATE VIRTUAL TABLE trigrams USING fts5 (text, content='', tokenize='trigram');
CREATE VIRTUAL TABLE words USING fts5 (text, content='', tokenize='unicode61');
"""
_VECTORS = """
ALTER TABLE passages ADD COLUMN has_vector INTEGER NOT NULL DEFAULT 0;
CREATE INDEX without_vector ON passages (document) WHERE has_vector = 0;
CREATE TABLE vectors (passage INTEGER PRIMARY KEY REFERENCES passages (id), vector BLOB NOT NULL);
CREATE TABLE vector_model (id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL, dimension INTEGER);
"""
SCHEMAS = (_TEXTS, _VECTORS)
"""Each adds to the one before. ``PRAGMA user_version`` counts those that a file has: of the tables, and of what
:mod:`.terms` puts into the indexes."""
_LACKING = "(SELECT count(*) FROM passages WHERE document = documents.id AND has_vector = 0)"
_KEPT = f"SELECT public_id, name, size, created, pages, passages, passages - {_LACKING} FROM documents"  # noqa: S608
_NEAREST = f"""
SELECT passage, vec_distance_cosine(vec_int8(vector), vec_int8(?)) AS distance FROM vectors
    ORDER BY distance NULLS LAST LIMIT {RANKED}
"""  # noqa: S608


class DocumentStore:
    """The database in a folder. Safe to use from several threads: each call opens it anew.

    Args:
        folder: on the state volume.
        extension: sqlite-vec; where there is none, passages are found by words alone.
    """

    def __init__(self, folder: Path, extension: Path | None = None) -> None:
        self._folder = folder
        self._extension = extension

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
            database.execute("DELETE FROM vectors WHERE passage IN (SELECT id FROM passages WHERE document = ?)", row)
            database.execute("DELETE FROM passages WHERE document = ?", row)
            database.execute("DELETE FROM documents WHERE id = ?", row)
            for index in INDEXES:
                # FTS5 only notes what is deleted; merging all of an index into one piece drops it.
                database.execute(f"INSERT INTO {index} ({index}) VALUES ('optimize')")  # noqa: S608

    def pending(self, model: str, most: int) -> list[PendingPassage]:
        """Passages that have no vector of a model yet, the oldest documents first; vectors of another model go."""
        with self._changing() as database:
            if database.execute("SELECT identity FROM vector_model").fetchone() != (model,):
                database.execute("DELETE FROM vectors")
                database.execute("UPDATE passages SET has_vector = 0 WHERE has_vector = 1")
                database.execute("INSERT OR REPLACE INTO vector_model VALUES (1, ?, NULL)", (model,))
            wanted = "SELECT id, text FROM passages WHERE has_vector = 0 ORDER BY document, id LIMIT ?"
            rows = database.execute(wanted, (min(most, VECTORS_MOST),)).fetchall()
        return [PendingPassage(passage=number, text=text) for number, text in rows]

    def keep(self, model: str, made: Sequence[MadeVector]) -> None:
        """Keep vectors of passages that are still there.

        Raises:
            DocumentError: they are of another model or length than the others, or there is no room.
        """
        vectors = [(one, vector_bytes(one.vector)) for one in made]
        with self._changing() as database:
            self._require_free(sum(len(vector) for _, vector in vectors))
            known = database.execute("SELECT identity, dimension FROM vector_model").fetchone()
            sizes = {len(vector) for _, vector in vectors} | ({known[1]} - {None} if known else set())
            if known is None or known[0] != model or len(sizes) > 1:
                raise DocumentError(DocumentCode.OTHER_VECTORS)
            database.execute("UPDATE vector_model SET dimension = ?", (*sizes,))
            for one, vector in vectors:
                row = (one.passage,)
                text = database.execute("SELECT text FROM passages WHERE id = ? AND has_vector = 0", row).fetchone()
                if text is not None and text_digest(text[0]) == one.text_sha256:
                    database.execute("INSERT INTO vectors VALUES (?, ?)", (one.passage, vector))
                    database.execute("UPDATE passages SET has_vector = 1 WHERE id = ?", row)

    def search(
        self, question: str, most: int, vector: QuestionVector | None = None
    ) -> tuple[list[FoundPassage], VectorUse | None]:
        """The passages that fit a question best, the best first: the ranks in both indexes decide, and with the
        question's vector, to the same part, how near passages are to it."""
        rankings: list[list[int]] = []
        with self._open() as database:
            for index, query in zip(INDEXES, (question_trigrams(question), question_words(question)), strict=True):
                ranked = f"SELECT rowid FROM {index} WHERE {index} MATCH ? ORDER BY rank LIMIT {RANKED}"  # noqa: S608
                rankings.append([number for (number,) in database.execute(ranked, (query,))] if query else [])
            found, use = fused(rankings), None
            if vector is not None:
                near, use = self._nearest(database, vector)
                found = found if use is VectorUse.UNAVAILABLE else fused([list(found), near])
            return [_passage(database, number, found[number]) for number in list(found)[:most]], use

    def _nearest(self, database: sqlite3.Connection, asked: QuestionVector) -> tuple[list[int], VectorUse]:
        """Passages whose vectors are the nearest to one, the nearest first."""
        content = vector_bytes(asked.vector)
        known = database.execute("SELECT identity, dimension FROM vector_model").fetchone()
        if known != (asked.model, len(content)) or not self._can_compare(database):
            return [], VectorUse.UNAVAILABLE
        near = [
            number
            for number, distance in database.execute(_NEAREST, (content,))
            if distance is not None and distance < FARTHEST
        ]
        lacking = database.execute("SELECT 1 FROM passages WHERE has_vector = 0 LIMIT 1").fetchone()
        return near, VectorUse.USED if lacking is None else VectorUse.PARTLY

    def _can_compare(self, database: sqlite3.Connection) -> bool:
        """Load sqlite-vec; whether it is there."""
        if self._extension is None:
            return False
        database.enable_load_extension(True)
        try:
            database.load_extension(str(self._extension))
        except sqlite3.OperationalError:
            return False
        finally:
            database.enable_load_extension(False)
        return True

    def _require_room(self, database: sqlite3.Connection, text_bytes: int) -> None:
        count, held = database.execute("SELECT count(*), coalesce(sum(text_bytes), 0) FROM documents").fetchone()
        if count >= DOCUMENTS_MOST or held + text_bytes > TEXT_BYTES_MOST:
            raise DocumentError(DocumentCode.FULL)
        self._require_free(GROWTH * text_bytes)

    def _require_free(self, size: int) -> None:
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < size + RESERVE_BYTES:
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
    if version > len(SCHEMAS):
        raise DocumentError(DocumentCode.UNREADABLE)
    if version < len(SCHEMAS):
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        for schema in SCHEMAS[version:]:
            for statement in schema.split(";"):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(SCHEMAS)}")
        database.execute("COMMIT")


def _passage(database: sqlite3.Connection, number: int, score: float) -> FoundPassage:
    row = database.execute(
        "SELECT public_id, name, page, paragraph, text FROM passages JOIN documents ON documents.id = document"
        " WHERE passages.id = ?",
        (number,),
    ).fetchone()
    return FoundPassage(
        document_id=row[0], name=row[1], page=row[2], paragraph=row[3], text=row[4], score=round(score, 4)
    )


def _indexed(text: str) -> Iterator[tuple[str, str]]:
    """What stands in each index of a passage."""
    yield "trigrams", folded(text)
    yield "words", words_of(text)


def _kept(row: Sequence[object]) -> KeptDocument:
    names = ("document_id", "name", "size", "created", "pages", "passages", "with_vectors")
    return KeptDocument.model_validate(dict(zip(names, row, strict=True)))
