"""What the gateway asks the document service (policies/spec/own-documents.md, 5).

One request a connection (:mod:`sealwright_appliance.local_messages`), with the file behind it if there is one. The
reply is a JSON document to the end of the connection.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sealwright_appliance.documents.formats import FILE_BYTES_MOST
from sealwright_appliance.documents.refusals import DocumentCode
from sealwright_appliance.documents.vectors import QuestionVector, VectorText
from sealwright_policies.wire.encoding import Document, Sha256Hex, parse_json

REQUEST_LIMIT = 64 * 1024
"""Bytes of a request, without its file."""
REPLY_LIMIT = 2 * 1024 * 1024
DOCUMENTS_MOST = 1000
PASSAGES_MOST = 50
"""That are found at once."""
VECTORS_MOST = 8
"""That are made and kept at once: so small that whoever asks meanwhile does not notice."""
DocumentId = Annotated[str, Field(pattern=r"^file-[0-9a-f]{24}$")]


class DocumentOperation(StrEnum):
    """What can be asked."""

    ADD = "add"
    LIST = "list"
    SHOW = "show"
    DELETE = "delete"
    SEARCH = "search"
    PENDING = "pending"
    """Which passages have no vector of a model; those of another model go."""
    KEEP = "keep"
    """Vectors of passages."""


class VectorUse(StrEnum):
    """What vectors had to do with a search, in a box that has a model for them."""

    USED = "used"
    PARTLY = "partly"
    """Some passages have none yet, and are found by words alone."""
    UNAVAILABLE = "unavailable"
    """The search was by words alone."""


class MadeVector(Document):
    """The vector of a passage."""

    passage: Annotated[int, Field(ge=1)]
    text_sha256: Sha256Hex
    """Of the text that it was made of."""
    vector: VectorText


class DocumentRequest(Document):
    """What the gateway asks."""

    operation: DocumentOperation
    document_id: DocumentId | None = None
    """Of SHOW and DELETE."""
    name: Annotated[str, Field(max_length=1024)] | None = None
    size: Annotated[int, Field(ge=0, le=FILE_BYTES_MOST)] | None = None
    """Of ADD: bytes behind this document."""
    question: Annotated[str, Field(max_length=16 * 1024)] | None = None
    most: Annotated[int, Field(ge=1, le=PASSAGES_MOST)] | None = None
    """Of SEARCH and PENDING."""
    vector: QuestionVector | None = None
    """Of SEARCH."""
    model: Sha256Hex | None = None
    """Of PENDING and KEEP."""
    vectors: Annotated[list[MadeVector], Field(min_length=1, max_length=VECTORS_MOST)] | None = None
    """Of KEEP."""


class KeptDocument(Document):
    """A document that is kept: its text, and no longer the file."""

    document_id: DocumentId
    name: str
    size: int
    """Bytes of the file."""
    created: int
    """Seconds since the epoch, by the box's clock."""
    pages: int | None
    passages: int
    with_vectors: int = 0
    """Passages that have one."""


class FoundPassage(Document):
    """A passage that may answer a question."""

    document_id: DocumentId
    name: str
    page: int | None
    paragraph: int
    text: str
    score: float
    """From 0 to 1; compares passages of one search."""


class PendingPassage(Document):
    """A passage that has no vector yet."""

    passage: int
    text: str


class DocumentReply(Document):
    """What came of it."""

    error: DocumentCode | None = None
    documents: Annotated[list[KeptDocument], Field(max_length=DOCUMENTS_MOST)] | None = None
    passages: Annotated[list[FoundPassage], Field(max_length=PASSAGES_MOST)] | None = None
    vectors: VectorUse | None = None
    """Of SEARCH."""
    pending: Annotated[list[PendingPassage], Field(max_length=VECTORS_MOST)] | None = None


def parse_document_request(content: bytes) -> DocumentRequest:
    """Read a request.

    Raises:
        FormatError: it is none.
    """
    return parse_json(DocumentRequest, content, limit=REQUEST_LIMIT)


def parse_document_reply(content: bytes) -> DocumentReply:
    """Read a reply.

    Raises:
        FormatError: it is none.
    """
    return parse_json(DocumentReply, content, limit=REPLY_LIMIT)
