"""At which addresses the box is reached, for its console: asked of the kernel's routes, without a packet."""

from __future__ import annotations

import socket
from collections.abc import Sequence

PLACES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "169.254.1.1"))
"""Somewhere by each default route (RFC 5737, RFC 3849), and a neighbour without one (RFC 3927)."""
DISCARD_PORT = 9


def own_addresses() -> Sequence[str]:
    """With which this machine would call there; the likeliest first."""
    found: list[str] = []
    for family, place in PLACES:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            try:
                one.connect((place, DISCARD_PORT))
            except OSError:
                continue
            found.append(one.getsockname()[0])
    return list(dict.fromkeys(found))
