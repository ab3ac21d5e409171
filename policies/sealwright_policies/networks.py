"""IP networks that stand for a few named machines: how they are written, how wide they may be (spec/domain.md, 5)."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

Network = IPv4Network | IPv6Network
BROADEST = {4: 24, 6: 64}
"""Prefix lengths: a wider network is no longer a named host."""


def as_network(text: str) -> Network:
    """A network, or an address, in its one spelling.

    Raises:
        ValueError: anything else, such as a host bit or a leading zero.
    """
    network = ip_network(text)
    if text not in (str(network), str(network.network_address)):
        raise ValueError(f"{text[:49]}: write it as {network}")
    return network


def require_narrow(network: Network) -> None:
    """Demand a network that may be named.

    Raises:
        ValueError: too wide, or of addresses that name no machine.
    """
    first = network.network_address
    if network.prefixlen < BROADEST[network.version]:
        raise ValueError(f"{network}: broader than /{BROADEST[network.version]}")
    if isinstance(first, IPv6Address) and (first.ipv4_mapped or first.scope_id):
        raise ValueError(f"{network}: an IPv4 address is written as one, and a zone is this machine's own")
    if first.is_loopback or first.is_link_local or first.is_multicast or first.is_unspecified or first.is_reserved:
        raise ValueError(f"{network}: loopback, link-local, multicast and reserved addresses name no host")


def subnet_of(one: Network, other: Network) -> bool:
    """Whether every address of one is in the other; never across IP versions."""
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.subnet_of(other)
    return isinstance(other, IPv6Network) and one.subnet_of(other)
