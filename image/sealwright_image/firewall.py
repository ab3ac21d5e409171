"""The packet filter's rules for one image: the hand-written ones, and the port of its licence service."""

from __future__ import annotations

from urllib.parse import urlsplit

HTTPS_PORT = 443


def firewall_rules(base: str, service_url: str) -> str:
    """What nft loads in the box.

    Args:
        base: policies/lsm/firewall.nft.
        service_url: The licence service's. The rules take its port, and not its host, whose address may change.
    """
    return f"define license_service_port = {urlsplit(service_url).port or HTTPS_PORT}\n\n{base}"
