"""Who counts as one client, wherever something is limited for each of them. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=1024)
def client_network(address: str) -> str:
    """The client of an address: an IPv4 address, or an IPv6 /64, of which every host can have all addresses.

    IPv4 on an IPv6 socket is IPv4, or all of it would be one client there. What is no address is one client, "".
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
