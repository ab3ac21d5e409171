"""A proxy of HTTP's CONNECT, as customers have them: a process of threads, which notes what it sees."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HEAD_MOST = 4096


@dataclass
class ConnectProxy:
    """On a port of loopback."""

    refuses: bool = False
    diverts_to: int | None = None
    """A port of loopback that it leads everybody to, whatever they asked for: a proxy that opens TLS."""
    asked_for: list[str] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)
    """What clients sent through it."""
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[ConnectProxy]:
        """Serve."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield self

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and len(head) < HEAD_MOST:
                head += client.recv(1)
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.asked_for.append(f"{method} {target}")
            if self.refuses or method != "CONNECT":
                client.sendall(b"HTTP/1.1 403 Blocked by <b>policy</b>\r\nContent-Length: 0\r\n\r\n")
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, self.diverts_to or int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for one in select.select([client, server], [], [])[0]:
                piece = one.recv(65_536)
                if not piece:
                    return
                if one is client:
                    self.seen += piece
                (server if one is client else client).sendall(piece)
