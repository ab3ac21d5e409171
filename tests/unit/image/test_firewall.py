"""The rules for peers can be told from an image's others, so that ``verify`` compares them with the manifest."""

from __future__ import annotations

from ipaddress import ip_network

from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules, peer_rules, peer_rules_among

BASE = (POLICIES / "firewall.nft").read_text()
URL = "https://license.example"
PEERS = [ip_network("10.20.0.0/24"), ip_network("fd5e:a1ed::/64")]


def test_they_are_found_whatever_stands_before_them() -> None:
    rules = firewall_rules(BASE, URL, PEERS)
    assert peer_rules_among(rules) == peer_rules(PEERS)
    assert "10.20.0.0/24" in peer_rules(PEERS)
    assert peer_rules_among(firewall_rules(BASE, URL)) == peer_rules([]) == ""


def test_what_follows_them_counts_as_theirs() -> None:
    added = "insert rule inet sealwright input tcp dport 22 accept\n"
    assert peer_rules_among(firewall_rules(BASE, URL, PEERS) + added) != peer_rules(PEERS)
