"""What a customer is told before he approves a release: domains, and what may leave them."""

from __future__ import annotations

from sealwright_client.cli_release import changes
from sealwright_policies.appraisal.reference_values import Manifest
from sealwright_policies.domains.canonical import summarise
from sealwright_testing.domain_texts import domain_text, parse
from sealwright_testing.evidence_factory import SyntheticBox

EGRESS = '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n'
FLOW = '\n[[flow]]\nto = "clinic"\nforms = ["metrics", "adapter"]\n'


def manifest(*texts: str) -> Manifest:
    domains = [summarise(parse(text).domain) for text in texts]
    return SyntheticBox().release.manifest.model_copy(update={"domains": domains})


def told(old: Manifest, new: Manifest) -> list[str]:
    return changes(old, new)[1:]


def test_what_opens_and_closes_is_told() -> None:
    narrow, wide = manifest(domain_text("medical")), manifest(domain_text("medical", more=EGRESS + FLOW))
    ways = [
        "domain medical: egress to 192.0.2.1 port 443/tcp",
        "domain medical: flow of adapter to clinic",
        "domain medical: flow of metrics to clinic",
    ]
    opened, closed = told(narrow, wide), told(wide, narrow)
    assert opened[0].startswith("changed   domain medical: internal, digest ")
    assert opened[1:] == [f"opened    {way}" for way in ways]
    assert closed[1:] == [f"closed    {way}" for way in ways]


def test_domains_come_and_go_with_their_ways_out() -> None:
    assert told(manifest(), manifest(domain_text("medical", more=EGRESS))) == [
        "new       domain medical: internal, of somebody",
        "opened    domain medical: egress to 192.0.2.1 port 443/tcp",
    ]
    assert told(manifest(domain_text("medical")), manifest()) == ["gone      domain medical"]


def test_the_same_domains_are_no_change() -> None:
    assert told(manifest(domain_text("medical")), manifest(domain_text("medical"))) == []
