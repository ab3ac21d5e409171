"""What leaves a box beside what its domains and peers name: its own rules, the same in every image (firewall.nft).

No manifest lists them. They are measured with the root that the release names, and this list is held against them in
the tests of the command's own version.
"""

from __future__ import annotations

from sealwright_policies.wire.service import service_port


def box_egress(service_url: str) -> list[str]:
    """Who may send where, a line each.

    Args:
        service_url: of the licence service, whose port alone the rules take.

    Raises:
        FormatError: it names no port that there is.
    """
    return [
        f"the agent to any address, port {service_port(service_url)}/tcp, which is the licence service's",
        "the agent to a proxy that is set on the box, at its port/tcp; by a name, to any address",
        "the agent and the time service to any address, port 53/tcp and 53/udp, for names",
        "the time service to any address, port 123/udp",
        "the network service to any address, ports 67/udp and 547/udp, for DHCP",
        "answers to who connects to HTTPS and to pings, and what IPv6 needs to find its neighbours",
    ]
