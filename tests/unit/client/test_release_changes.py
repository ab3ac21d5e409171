"""What a customer is told before he approves a release: domains, who opens them, what may leave them and the box."""

from __future__ import annotations

from functools import cache

import pytest

from sealwright_client.release_changes import PEERS_UNKNOWN, changes
from sealwright_policies.appraisal.reference_values import Manifest
from sealwright_policies.domains.canonical import summarise
from sealwright_testing.domain_texts import domain_text, parse, replaced
from sealwright_testing.evidence_factory import SyntheticBox

EGRESS = '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n'
FLOW = '\n[[flow]]\nto = "clinic"\nforms = ["metrics", "adapter"]\n'


NETWORK, OTHER = "10.20.0.0/24", "fd5e:a1ed::/64"


def manifest(*texts: str, peers: list[str] | None = None) -> Manifest:
    domains = [summarise(parse(text).domain) for text in texts]
    return _release().model_copy(update={"domains": domains, "peers": peers or []})


@cache
def _release() -> Manifest:
    return SyntheticBox().release.manifest


def opening(tiers: str, features: str) -> Manifest:
    text = replaced(domain_text("medical"), 'tiers = ["discrete"]', f"tiers = {tiers}")
    return manifest(replaced(text, "features = []", f"features = {features}"))


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
        "opens     domain medical: on a discrete TPM",
        "opened    domain medical: egress to 192.0.2.1 port 443/tcp",
    ]
    assert told(manifest(domain_text("medical")), manifest()) == ["gone      domain medical"]


def test_the_same_domains_are_no_change() -> None:
    assert told(manifest(domain_text("medical")), manifest(domain_text("medical"))) == []


def test_boxes_on_which_a_domain_opens_are_told() -> None:
    narrow, wide = opening('["discrete"]', '["trained", "audited"]'), opening('["firmware", "discrete"]', '["audited"]')
    ways = ["domain medical: on a firmware TPM", "domain medical: without trained in the licence"]
    opened, closed = told(narrow, wide), told(wide, narrow)
    assert opened[0].startswith("changed   domain medical: internal, digest ")
    assert opened[1:] == [f"opened    {way}" for way in ways]
    assert closed[1:] == [f"closed    {way}" for way in ways]


def test_a_domain_without_a_list_of_boxes_opens_on_all() -> None:
    listed = opening('["discrete"]', '["trained"]')
    (summary,) = listed.domains
    unlisted = listed.model_copy(update={"domains": [summary.model_copy(update={"opening": None})]})
    ways = ["on a firmware TPM", "on a software TPM", "without trained in the licence"]
    assert told(listed, unlisted) == [f"opened    domain medical: {way}" for way in ways]
    assert told(unlisted, listed) == [f"closed    domain medical: {way}" for way in ways]


def test_networks_that_the_gateway_may_call_are_told() -> None:
    none, one, both = manifest(), manifest(peers=[NETWORK]), manifest(peers=[NETWORK, OTHER])
    assert told(none, both) == [f"opened    peers: {NETWORK}", f"opened    peers: {OTHER}"]
    assert told(both, one) == [f"closed    peers: {OTHER}"]
    assert told(both, both) == []
    assert f"opened    peers: {NETWORK}" in changes(None, one)


@pytest.mark.parametrize("peers", [[], [NETWORK]])
def test_a_release_that_lists_no_networks_may_have_some(peers: list[str]) -> None:
    listed = manifest(peers=peers)
    unlisted = listed.model_copy(update={"peers": None})
    unknown = "peers     the running release does not list its own"
    assert told(unlisted, listed) == [unknown, *(f"opened    peers: {one}" for one in peers)]
    assert told(listed, unlisted) == [f"warning   {PEERS_UNKNOWN}"]


@pytest.mark.parametrize("change", [{"service_file": "0" * 64}, {"service_file": None}, {"service_id": "other"}])
def test_another_licence_service_is_told(change: dict[str, str | None]) -> None:
    one = manifest().model_copy(update={"service_file": "1" * 64})
    (said,) = told(one, one.model_copy(update=change))
    assert said.startswith("warning   the file of the licence service ")
    assert told(one, one) == []
