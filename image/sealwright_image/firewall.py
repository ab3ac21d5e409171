"""The packet filter's rules for one image: the hand-written ones, its licence service's port, its peers' networks."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from sealwright_policies.wire.service import service_port

Network = IPv4Network | IPv6Network
FIREWALL_PATH = "usr/lib/sealwright/firewall.nft"
"""In the root."""
_PEERS = "\n# Boxes with which files are exchanged.\n"


def firewall_rules(base: str, service_url: str, peers: Sequence[Network] = ()) -> str:
    """What nft loads in the box.

    Args:
        base: policies/lsm/firewall.nft.
        service_url: The licence service's. The rules take its port, and not its host, whose address may change.
        peers: Networks of boxes with which files are exchanged (policies/spec/domain-flow.md, 6); without any, the
            gateway calls nobody, and nobody reaches its port for frames.
    """
    return f"define license_service_port = {service_port(service_url)}\n\n{base}{peer_rules(peers)}"


def peer_rules(peers: Sequence[Network]) -> str:
    """The last of an image's rules, which go in front of the one that rejects what is left; empty without peers."""
    lines = []
    for version, family in ((4, "ip"), (6, "ip6")):
        networks = ", ".join(str(one) for one in sorted(set(peers), key=str) if one.version == version)
        if networks:
            lines += [
                f"insert rule inet sealwright input {family} saddr {{ {networks} }} tcp dport $flow_port accept",
                f"insert rule inet sealwright output meta skuid sealwright-gateway {family} daddr {{ {networks} }} "
                "tcp dport { $gateway_port, $flow_port } accept",
            ]
    return _PEERS + "\n".join(lines) + "\n" if lines else ""


def peer_rules_among(rules: str) -> str:
    """Of an image's rules those that :func:`peer_rules` made, with whatever follows them."""
    _, heading, rest = rules.partition(_PEERS)
    return heading + rest
