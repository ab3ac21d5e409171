"""Where the gateway listens. How it bounds its connections is tested on a real one, in tests/integration/serve."""

from __future__ import annotations

import socket

import pytest

from sealwright_appliance.serve.connections import listen


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_empty_host_is_every_address(address: str) -> None:
    """Of both families, where the kernel has both."""
    if address == "::1" and not socket.has_dualstack_ipv6():
        address = "127.0.0.1"
    with listen("", 0) as listener, socket.create_connection((address, listener.getsockname()[1]), timeout=10):
        pass


@pytest.mark.parametrize("address", ["::1", "127.0.0.2"])
def test_a_host_is_that_address_alone(address: str) -> None:
    if address == "::1" and not socket.has_dualstack_ipv6():
        address = "127.0.0.2"
    with listen(address, 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection((address, port), timeout=10).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_first_token_waits_for_no_acknowledgement() -> None:
    """Nagle's algorithm is off: an event is a small segment behind the headers."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
