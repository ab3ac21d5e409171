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
    HEAD,
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
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.wire.encoding import document_bytes

SYSTEMD_FIRST_FD = 3
"""The listening socket that systemd hands over (sd_listen_fds(3))."""
CONNECTIONS_MOST = 16
READ_AT_ONCE = 2
"""Files; each of them takes memory and a processor."""
REQUEST_TIMEOUT_S = 30.0
"""Between two pieces of a request."""
PARSER_TIMEOUT_S = 300.0
"""Of one file; a processor's time is bounded by the parser's unit."""
PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class DocumentService:
    """Answers requests."""

    store: DocumentStore
    parser_socket: Path
    reading: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(READ_AT_ONCE))

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


def serve(service: DocumentService, listener: socket.socket) -> None:
    """Answer connections, each in a thread, until the listener is closed."""
    places = threading.Semaphore(CONNECTIONS_MOST)
    while True:
        places.acquire()
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve_one, args=(service, connection, places), daemon=True).start()


def _serve_one(service: DocumentService, connection: socket.socket, places: threading.Semaphore) -> None:
    try:
        with connection, suppress(OSError, FormatError):
            connection.settimeout(REQUEST_TIMEOUT_S)
            (length,) = HEAD.unpack(_received(connection, HEAD.size))
            asked = parse_document_request(_received(connection, min(length, REQUEST_LIMIT + 1)))
            content = _received(connection, asked.size or 0)
            connection.sendall(document_bytes(service.answer(asked, content)))
    finally:
        places.release()


def _received(connection: socket.socket, size: int) -> bytes:
    """So many bytes.

    Raises:
        FormatError: there are fewer.
    """
    parts = []
    while size:
        piece = connection.recv(min(size, PIECE))
        if not piece:
            raise FormatError("The request ends too soon.")
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def run_document_service(paths: Paths) -> None:
    """Serve on the socket that systemd has opened: the gateway's group may connect, nobody else."""
    if os.environ.get("LISTEN_FDS") != "1":
        raise OperationError("sealwright-documents is started by its socket.")
    service = DocumentService(DocumentStore(paths.documents, paths.vector_extension), paths.parser_socket)
    with socket.socket(fileno=SYSTEMD_FIRST_FD) as listener:
        serve(service, listener)
