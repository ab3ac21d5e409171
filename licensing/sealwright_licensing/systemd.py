"""What systemd and a service of type notify tell each other: an inherited listening socket, and when it is in use.

sd_listen_fds(3) and sd_notify(3), without libsystemd: both are a few variables and one datagram.
"""

from __future__ import annotations

import os
import socket

from sealwright_policies.errors import OperationError

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""


def inherited_socket() -> int | None:
    """File descriptor of the listening socket that systemd has passed to this process, None if it has passed none.

    Raises:
        OperationError: several were passed.
    """
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return None
    number = os.environ.pop("LISTEN_FDS", "0")
    if number != "1":
        raise OperationError(f"systemd passed {number} sockets.", cure="Name one ListenStream= in the socket unit.")
    os.set_inheritable(FIRST_DESCRIPTOR, False)
    return FIRST_DESCRIPTOR


def tell_ready() -> None:
    """Tell systemd, if it started this process and wants to know, that requests are taken."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        notifier.send(b"READY=1")
