"""What the command says of the box's own ways out is what the packet filter of its version lets through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealwright_client.box_egress import box_egress
from sealwright_policies.errors import FormatError

FILTER = Path(__file__).resolve().parents[3] / "policies" / "lsm" / "firewall.nft"
TOLD = {
    "tcp sport $gateway_port tcp flags & (syn | ack) != syn accept": "answers to who connects to HTTPS",
    "ct state established accept": "answers to who connects",
    "meta skuid sealwright-agent tcp dport $license_service_port accept": "the agent to any address, port 8743/tcp",
    "jump site": "the agent to a proxy that is set on the box",
    "meta skuid $resolvers meta l4proto { tcp, udp } th dport 53 accept": (
        "the agent and the time service to any address, port 53/tcp and 53/udp"
    ),
    "meta skuid systemd-timesync udp dport 123 accept": "the time service to any address, port 123/udp",
    "meta skuid systemd-network udp dport { 67, 547 } accept": (
        "the network service to any address, ports 67/udp and 547/udp"
    ),
    "icmp type echo-reply accept": "answers to who connects to HTTPS and to pings",
    "icmpv6 type { echo-reply, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept": "neighbours",
    "icmpv6 type { mld-listener-report, mld2-listener-report } accept": "what IPv6 needs",
}
"""By rule of the chain ``output``, whose last one rejects, words of the line that tells it."""


def output_rules() -> list[str]:
    (chain,) = re.findall(r"\n\tchain output \{\n(.*?)\n\t\}\n", FILTER.read_text(), re.DOTALL)
    lines = [line.strip() for line in chain.splitlines()]
    rules = [line for line in lines if not line.startswith(("#", "type filter"))]
    assert rules.pop() == "counter reject with icmpx admin-prohibited"
    return rules


def test_every_rule_is_told() -> None:
    """Whoever lets something more out has to say it to the customer."""
    assert output_rules() == list(TOLD)
    lines = box_egress("https://service.example:8743")
    assert {next(line for line in lines if words in line) for words in TOLD.values()} == set(lines)


def test_names_are_looked_up_by_the_agent_and_the_time_service() -> None:
    assert "define resolvers = { sealwright-agent, systemd-timesync }\n" in FILTER.read_text()


def test_a_service_without_a_port_is_at_that_of_https() -> None:
    assert "port 443/tcp" in box_egress("https://service.example")[0]
    with pytest.raises(FormatError):
        box_egress("https://service.example:65536")
