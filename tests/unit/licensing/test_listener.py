"""Connections as the licence service takes them."""

from __future__ import annotations

import socket

from sealwright_licensing.connections import Listener


def test_a_reply_waits_for_no_acknowledgement() -> None:
    """Nagle's algorithm is off."""
    with Listener(4) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
