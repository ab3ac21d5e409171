"""Messages over a UNIX socket: a length, a JSON document, the bytes that it announces."""

from __future__ import annotations

import socket

from sealwright_appliance.adapters.messages import HEAD
from sealwright_policies.errors import FormatError

PIECE = 256 * 1024


def received(connection: socket.socket, size: int) -> bytes:
    """So many bytes.

    Raises:
        FormatError: there are fewer.
    """
    parts = []
    while size:
        piece = connection.recv(min(size, PIECE))
        if not piece:
            raise FormatError("The message ends too soon.")
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def received_document(connection: socket.socket, limit: int) -> bytes:
    """A document behind its length; one that is too long is cut where its reader sees it."""
    (length,) = HEAD.unpack(received(connection, HEAD.size))
    return received(connection, min(length, limit + 1))


def framed(document: bytes, *following: bytes) -> bytes:
    """A message."""
    return b"".join([HEAD.pack(len(document)), document, *following])
