"""Who is one client: nobody gets a fresh limit by taking another address of his own, nor uses up a stranger's."""

from __future__ import annotations

import pytest

from sealwright_policies.wire.client_network import client_network


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::3", "2001:db8:1:2:ffff::4"),
        ("fe80::1%eth0", "fe80::2"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "nobody"),
    ],
)
def test_addresses_of_one_host_are_one_client(one: str, other: str) -> None:
    assert client_network(one) == client_network(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.7", "192.0.2.8"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8"),
    ],
)
def test_other_networks_are_other_clients(one: str, other: str) -> None:
    assert client_network(one) != client_network(other)
