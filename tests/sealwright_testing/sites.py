"""Settings of a site, for tests to change."""

from __future__ import annotations

from typing import Any


def fixed_network(**changes: Any) -> dict[str, Any]:
    """Fixed addresses."""
    network: dict[str, Any] = {
        "interface": "enp1s0",
        "ipv4": {"address": "192.0.2.5/24", "gateway": "192.0.2.1"},
        "ipv6": {"address": "2001:db8::5/64", "gateway": "fe80::1"},
        "dns": ["192.0.2.53", "2001:db8::53"],
    }
    return network | changes


def site_settings(**changes: Any) -> dict[str, Any]:
    """Something of everything."""
    settings: dict[str, Any] = {
        "version": 1,
        "network": fixed_network(),
        "proxy": {"host": "proxy.example", "port": 3128},
        "time": ["ntp.example", "192.0.2.123"],
    }
    return settings | changes
