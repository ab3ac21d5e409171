"""What goes over a virtual box's network, as whoever is on it hears it."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from sealwright_testing.virtual_box import VirtualBox


def capture(file: Path) -> tuple[str, ...]:
    """Arguments of QEMU's that write all packets to a file, which each start of the machine makes anew."""
    return ("-object", f"filter-dump,id=dump,netdev=net0,maxlen=65535,file={file}")


def call_in_clear(box: VirtualBox, words: str) -> None:
    """Something that everybody on the network can read: the control of the capture."""
    with socket.create_connection(("127.0.0.1", box.port)) as client:
        client.sendall(f"GET /{words} HTTP/1.1\r\n\r\n".encode())
        with suppress(OSError):
            client.recv(4096)
