"""The customer's documents: files as they come, and what service and parser say to each other."""

from __future__ import annotations

from collections.abc import Iterable

from sealwright_appliance.documents.formats import format_of, parse_name
from sealwright_appliance.documents.messages import (
    DocumentOperation,
    DocumentReply,
    DocumentRequest,
    FoundPassage,
    KeptDocument,
    MadeVector,
    PendingPassage,
    parse_document_reply,
    parse_document_request,
)
from sealwright_appliance.documents.parsed import parse_parsed, parsed_bytes
from sealwright_appliance.documents.pdf import parse_pdf
from sealwright_appliance.documents.plain_text import parse_plain_text
from sealwright_appliance.documents.vectors import QuestionVector, vector_text
from sealwright_appliance.documents.word import parse_docx
from sealwright_appliance.serve.document_routes import parse_search_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.document_files import docx, encrypted_pdf, pdf
from sealwright_testing.parsers.parser import Parser, of_text

_TEXT = "# Dose\n\nTwice a day.\n\n二甲双胍。".encode()


def of_documents() -> Iterable[Parser]:
    """Readers, and messages."""
    kept = KeptDocument(document_id=f"file-{'0' * 24}", name="a.pdf", size=1, created=1, pages=2, passages=3)
    found = FoundPassage(document_id=kept.document_id, name="a.pdf", page=1, paragraph=2, text="x", score=0.5)
    asked = DocumentRequest(operation=DocumentOperation.SEARCH, question="x", most=3)
    reply = DocumentReply(documents=[kept], passages=[found], pending=[PendingPassage(passage=7, text="x")])
    vector = QuestionVector(model="5e" * 32, vector=vector_text(b"abc"))
    near = DocumentRequest(operation=DocumentOperation.SEARCH, question="x", most=3, vector=vector)
    made = MadeVector(passage=7, text_sha256="5e" * 32, vector=vector.vector)
    keep = DocumentRequest(operation=DocumentOperation.KEEP, model="5e" * 32, vectors=[made])
    yield Parser("document name", of_text(parse_name), (b"C:\\ward\\dose.pdf",))
    yield Parser("document format", lambda raw: format_of("a.pdf", raw), (pdf(["x"]),))
    yield Parser("plain text", parse_plain_text, (_TEXT,))
    yield Parser("DOCX", parse_docx, (docx(["Twice a day.", "x"]),))
    yield Parser("PDF", parse_pdf, (pdf(["Twice a day.\nOr not.", "x"]), encrypted_pdf()))
    yield Parser("document request", parse_document_request, tuple(map(document_bytes, (asked, near, keep))))
    yield Parser("document reply", parse_document_reply, (document_bytes(reply),))
    yield Parser("parsed document", parse_parsed, (parsed_bytes(parse_plain_text(_TEXT)), b'"document_damaged"'))
    yield Parser("search", parse_search_request, (b'{"query":"x","max_num_results":3}',), ApiError)
