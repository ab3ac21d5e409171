"""A network between virtual boxes, beside the one that each has with this host: a hub, and a router to nowhere.

QEMU's own hub with its user-mode network will not do: that answers whatever passes, also what is between two boxes. The
router advertises an IPv6 prefix, so that a box's address follows from its card's (RFC 4291, appendix A), and nobody has
to ask the box.
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from types import TracebackType

from sealwright_testing.machine import BOX_PORT, Machine

_CARD = (0x52, 0x54, 0x00, 0x5E, 0xA1)
_ROUTER_CARD = bytes((*_CARD, 0xFF))
_ROUTER = IPv6Address("fe80::1")
_IPV6 = b"\x86\xdd"
_ICMPV6 = 58
_SOLICITATION, _ADVERTISEMENT = 133, 134


class BoxNetwork:
    """As a context manager it is taken down at the end.

    Args:
        prefix: /64, of whose addresses each box gets one.
        boxes: how many places there are.
    """

    def __init__(self, prefix: str, boxes: int) -> None:
        self._prefix = IPv6Network(prefix)
        # A UNIX socket's path may not be longer than 107 bytes.
        self._sockets = Path(tempfile.mkdtemp(prefix="sw-net-"))
        self._lock = threading.Lock()
        self._lines: dict[int, socket.socket] = {}
        self._listeners = [self._listen(place) for place in range(boxes)]

    def machine(self, machine: Machine, place: int) -> Machine:
        """The same machine with a card in this network; a place is for one box."""
        line = f"stream,id=peers,server=off,addr.type=unix,addr.path={self._socket(place)}"
        card = ":".join(f"{one:02x}" for one in (*_CARD, place))
        return dataclasses.replace(
            machine,
            extra=(*machine.extra, "-netdev", line, "-device", f"virtio-net-pci,netdev=peers,mac={card},romfile="),
        )

    def url(self, place: int) -> str:
        """Of the box in a place, for other boxes."""
        first, *rest = (*_CARD, place)
        identifier = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
        return f"https://[{self._prefix[int.from_bytes(identifier)]}]:{BOX_PORT}"

    def close(self) -> None:
        """Take it down."""
        for one in (*self._listeners, *self._lines.values()):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        shutil.rmtree(self._sockets)

    def _socket(self, place: int) -> Path:
        return self._sockets / str(place)

    def _listen(self, place: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._socket(place)))
        listener.listen()
        threading.Thread(target=self._serve, args=(place, listener), daemon=True).start()
        return listener

    def _serve(self, place: int, listener: socket.socket) -> None:
        """One box after another: one that is switched on anew connects anew."""
        with suppress(OSError):
            while True:
                line, _ = listener.accept()
                with self._lock:
                    self._lines[place] = line
                with suppress(OSError), line.makefile("rb") as frames:
                    while len(head := frames.read(4)) == 4:
                        self._pass_on(place, frames.read(*struct.unpack(">I", head)))

    def _pass_on(self, place: int, frame: bytes) -> None:
        """QEMU's stream: each frame behind its length, 4 bytes."""
        asked = frame[12:14] == _IPV6 and frame[20:21] == bytes([_ICMPV6]) and frame[54:55] == bytes([_SOLICITATION])
        with self._lock:
            for other, line in self._lines.items():
                if other != place:
                    _send(line, frame)
            if asked:
                _send(self._lines[place], self._advertisement())

    def _advertisement(self) -> bytes:
        """To all nodes (RFC 4861, 4.2): a prefix of which they make addresses, and no way to anywhere else."""
        nodes = IPv6Address("ff02::1")
        prefix = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 86_400, 14_400, 0) + self._prefix.network_address.packed
        options = prefix + bytes((1, 1)) + _ROUTER_CARD
        message = struct.pack(">BBHBBHII", _ADVERTISEMENT, 0, 0, 64, 0, 0, 0, 0) + options
        addresses = _ROUTER.packed + nodes.packed
        checksum = _checksum(addresses + struct.pack(">II", len(message), _ICMPV6) + message)
        message = message[:2] + struct.pack(">H", checksum) + message[4:]
        header = struct.pack(">IHBB", 6 << 28, len(message), _ICMPV6, 255)
        return b"\x33\x33\0\0\0\x01" + _ROUTER_CARD + _IPV6 + header + addresses + message

    def __enter__(self) -> BoxNetwork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _send(line: socket.socket, frame: bytes) -> None:
    with suppress(OSError):
        line.sendall(struct.pack(">I", len(frame)) + frame)


def _checksum(content: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
