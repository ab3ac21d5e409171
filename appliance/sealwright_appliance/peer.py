"""Who counts as one peer, wherever something is limited for each of them."""

from __future__ import annotations

import ipaddress


def peer_of(host: str) -> str:
    """The peer of an address: an IPv4 address, or an IPv6 /64, of which every host can have all addresses."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
