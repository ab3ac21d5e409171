"""Messages between programs of the box over a UNIX socket: four bytes, the length of a JSON document, then that, then
the bytes that it announces. Of a service that is asked, one request a connection; the reply is to its end.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from sealwright_policies.errors import FormatError

SYSTEMD_FIRST_FD = 3
"""The listening socket that systemd hands over (sd_listen_fds(3))."""
CONNECTIONS_MOST = 16
REQUEST_TIMEOUT_S = 30.0
"""Between two pieces of a request."""
PIECE = 256 * 1024
HEAD = struct.Struct(">I")


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


def serve_requests(listener: socket.socket, answer: Callable[[socket.socket], bytes]) -> None:
    """Answer connections, each in a thread, until the listener is closed.

    Args:
        answer: reads the request and returns the reply; with FormatError there is none.
    """
    places = threading.Semaphore(CONNECTIONS_MOST)
    while True:
        places.acquire()
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve_one, args=(connection, answer, places), daemon=True).start()


def _serve_one(
    connection: socket.socket, answer: Callable[[socket.socket], bytes], places: threading.Semaphore
) -> None:
    try:
        with connection, suppress(OSError, FormatError):
            connection.settimeout(REQUEST_TIMEOUT_S)
            connection.sendall(answer(connection))
    finally:
        places.release()
