"""The document service: keeps the customer's documents, and has each file read by a parser of its own.

It has the documents and nothing else: no network, no weights, no TPM. The gateway asks over a socket that systemd has
opened for its group; who may ask what is the gateway's to decide, since it has the requests.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_appliance.documents.formats import format_of, parse_name
from sealwright_appliance.documents.messages import (
    REQUEST_LIMIT,
    DocumentOperation,
    DocumentReply,
    DocumentRequest,
    KeptDocument,
    parse_document_request,
)
from sealwright_appliance.documents.parsed import PARSED_LIMIT, parse_parsed
from sealwright_appliance.documents.passages import passages
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.store import DocumentStore
from sealwright_appliance.local_messages import (
    PIECE,
    SYSTEMD_FIRST_FD,
    received,
    received_document,
    serve_requests,
)
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes

READ_AT_ONCE = 2
"""Files; each of them takes memory and a processor."""
PARSER_TIMEOUT_S = 300.0
"""Of one file; a processor's time is bounded by the parser's unit."""


@dataclass(frozen=True, slots=True)
class DocumentService:
    """Answers requests."""

    store: DocumentStore
    parser_socket: Path
    reading: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(READ_AT_ONCE))

    def respond(self, connection: socket.socket) -> bytes:
        """Read a request from a connection and answer it.

        Raises:
            FormatError: it is none.
        """
        asked = parse_document_request(received_document(connection, REQUEST_LIMIT))
        return document_bytes(self.answer(asked, received(connection, asked.size or 0)))

    def answer(self, asked: DocumentRequest, content: bytes) -> DocumentReply:
        """Do what was asked; nothing is raised but what ends the process."""
        try:
            return self._done(asked, content)
        except DocumentError as error:
            return DocumentReply(error=error.code)

    def _done(self, asked: DocumentRequest, content: bytes) -> DocumentReply:
        match asked.operation:
            case DocumentOperation.ADD:
                return DocumentReply(documents=[self._add(asked.name or "", content)])
            case DocumentOperation.LIST:
                return DocumentReply(documents=self.store.all())
            case DocumentOperation.SHOW:
                return DocumentReply(documents=[self.store.one(asked.document_id or "")])
            case DocumentOperation.DELETE:
                self.store.delete(asked.document_id or "")
                return DocumentReply()
            case DocumentOperation.SEARCH:
                found, vectors = self.store.search(asked.question or "", asked.most or 1, asked.vector)
                return DocumentReply(passages=found, vectors=vectors)
            case DocumentOperation.PENDING:
                return DocumentReply(pending=self.store.pending(asked.model or "", asked.most or 1))
            case DocumentOperation.KEEP:
                self.store.keep(asked.model or "", asked.vectors or ())
                return DocumentReply()

    def _add(self, name: str, content: bytes) -> KeptDocument:
        shown = parse_name(name)
        kind = format_of(shown, content)
        if not self.reading.acquire(blocking=False):
            raise DocumentError(DocumentCode.BUSY)
        try:
            blocks = parse_parsed(self._parsed(kind, content))
        finally:
            self.reading.release()
        return self.store.add(shown, len(content), passages(blocks), int(time.time()))

    def _parsed(self, kind: str, content: bytes) -> bytes:
        """What a parser says. One that says nothing was ended by its limits."""
        said = b""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PARSER_TIMEOUT_S)
                connection.connect(str(self.parser_socket))
                # A parser that ends early closes the connection before it has taken all of a file.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(json.dumps({"format": kind, "size": len(content)}).encode() + b"\n")
                    connection.sendall(content)
                    connection.shutdown(socket.SHUT_WR)
                parts, size = [], 0
                while size <= PARSED_LIMIT and (piece := connection.recv(PIECE)):
                    parts.append(piece)
                    size += len(piece)
                said = b"".join(parts)
        except (FileNotFoundError, ConnectionRefusedError):
            raise DocumentError(DocumentCode.UNAVAILABLE) from None
        except OSError:  # it took too long, or was killed
            said = b""
        if not said or len(said) > PARSED_LIMIT:
            raise DocumentError(DocumentCode.TOO_COMPLEX)
        return said


def run_document_service(paths: Paths) -> None:
    """Serve on the socket that systemd has opened: the gateway's group may connect, nobody else."""
    if os.environ.get("LISTEN_FDS") != "1":
        raise OperationError("sealwright-documents is started by its socket.")
    service = DocumentService(DocumentStore(paths.documents, paths.vector_extension), paths.parser_socket)
    with socket.socket(fileno=SYSTEMD_FIRST_FD) as listener:
        serve_requests(listener, service.respond)
