"""The gateway's view of the customer's documents: what the document service says over its UNIX socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from sealwright_appliance.documents.messages import (
    REPLY_LIMIT,
    VECTORS_MOST,
    DocumentOperation,
    DocumentReply,
    DocumentRequest,
    FoundPassage,
    KeptDocument,
    MadeVector,
    PendingPassage,
    VectorUse,
    parse_document_reply,
)
from sealwright_appliance.documents.refusals import SENTENCES, DocumentCode
from sealwright_appliance.documents.vectors import QuestionVector
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.local_requests import request_reply
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import document_bytes

TIMEOUT_S = 60.0
"""Of what only looks."""
CHANGING_TIMEOUT_S = 600.0
"""To read a file, or to merge the indexes behind a deletion."""
_STATUS = {
    DocumentCode.UNKNOWN: 404,
    DocumentCode.TOO_LARGE: 413,
    DocumentCode.BUSY: 429,
    DocumentCode.FULL: 409,
    DocumentCode.OTHER_VECTORS: 409,
    DocumentCode.DISK_FULL: 507,
    DocumentCode.UNAVAILABLE: 503,
    DocumentCode.UNREADABLE: 503,
}
"""All others are the file's fault: 400."""
_RETRY_S = {DocumentCode.BUSY: 10, DocumentCode.UNAVAILABLE: 30}


def refused(code: DocumentCode, param: str | None = None) -> ApiError:
    """A refusal as the API has it."""
    return ApiError(_STATUS.get(code, 400), code, SENTENCES[code], param=param, retry_after_s=_RETRY_S.get(code))


class Documents:
    """The document service behind its socket. Every call raises ApiError for what is refused."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def add(self, name: str, size: int, pieces: AsyncIterator[bytes]) -> KeptDocument:
        """Have a file read and its text kept.

        Args:
            size: bytes of all pieces.
        """
        asked = DocumentRequest(operation=DocumentOperation.ADD, name=name, size=size)
        return _one(await self._ask(asked, pieces, CHANGING_TIMEOUT_S))

    async def all(self) -> list[KeptDocument]:
        """Every document, the youngest first."""
        return list((await self._ask(DocumentRequest(operation=DocumentOperation.LIST))).documents or ())

    async def one(self, document_id: str) -> KeptDocument:
        """A document."""
        return _one(await self._ask(_of(DocumentOperation.SHOW, document_id)))

    async def delete(self, document_id: str) -> None:
        """Have it forgotten."""
        await self._ask(_of(DocumentOperation.DELETE, document_id), timeout_s=CHANGING_TIMEOUT_S)

    async def search(
        self, question: str, most: int, vector: QuestionVector | None = None
    ) -> tuple[list[FoundPassage], VectorUse | None]:
        """Passages that fit a question, the best first, and what its vector had to do with it."""
        asked = DocumentRequest(operation=DocumentOperation.SEARCH, question=question, most=most, vector=vector)
        reply = await self._ask(asked)
        return list(reply.passages or ()), reply.vectors

    async def pending(self, model: str) -> list[PendingPassage]:
        """Some passages that have no vector of a model yet; vectors of another are removed."""
        asked = DocumentRequest(operation=DocumentOperation.PENDING, model=model, most=VECTORS_MOST)
        return list((await self._ask(asked, timeout_s=CHANGING_TIMEOUT_S)).pending or ())

    async def keep(self, model: str, vectors: list[MadeVector]) -> None:
        """Have vectors of passages kept."""
        await self._ask(DocumentRequest(operation=DocumentOperation.KEEP, model=model, vectors=vectors))

    async def _ask(
        self, asked: DocumentRequest, pieces: AsyncIterator[bytes] | None = None, timeout_s: float = TIMEOUT_S
    ) -> DocumentReply:
        message = document_bytes(asked)
        try:
            said = await request_reply(self._socket, message, pieces, limit=REPLY_LIMIT, timeout_s=timeout_s)
            reply = parse_document_reply(said)
        except (OSError, FormatError):
            raise refused(DocumentCode.UNAVAILABLE) from None
        if reply.error is not None:
            raise refused(reply.error, "file" if asked.operation is DocumentOperation.ADD else None)
        return reply


def _of(operation: DocumentOperation, document_id: str) -> DocumentRequest:
    """Of one document; a name that cannot be an id is none."""
    try:
        return DocumentRequest(operation=operation, document_id=document_id)
    except ValueError:
        raise refused(DocumentCode.UNKNOWN) from None


def _one(reply: DocumentReply) -> KeptDocument:
    if not reply.documents:
        raise refused(DocumentCode.UNAVAILABLE)
    return reply.documents[0]
