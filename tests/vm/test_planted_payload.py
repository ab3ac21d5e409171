"""Code planted in a test image: as root beside the engines it looks for weights, as an engine it tries to get out.

The image is the same product with something more in its root (``sealwright_testing/planted``), which only a licence
for test images accepts. Every attempt is made twice, by root outside of any sandbox and from the place of an engine, so
that an attempt that could never succeed is not taken for a defence.
"""

from __future__ import annotations

import re

import pytest

from sealwright_testing import customer
from sealwright_testing.models import ModelStore
from sealwright_testing.scene import Scene
from sealwright_testing.smbios import INJECTED, injecting
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = pytest.mark.vm

KEPT_FROM_ENGINES = frozenset({
    "other-socket", "other-socket-folder", "other-payload", "other-payload-device", "other-processes",
    "other-environments", "other-environment-file", "signal-to-others", "agent-socket", "system-bus",
    "service-manager", "state", "leases", "shares", "tls-key", "network", "packet-socket",
    "netlink-socket", "kernel-log", "disk", "tpm", "firmware-variables", "user-namespace", "mount-namespace",
    "network-namespace", "mount", "bpf", "perf", "userfaultfd", "writable-places", "own-code", "writable-code", "root",
    "capabilities", "link",
})  # fmt: skip
KEPT_FROM_ROOT = frozenset({"ptrace", "foreign-memory", "physical-memory", "kernel-memory", "io-uring"})
"""By lockdown, Yama and the capabilities that process 1 has given up."""


def test_a_payload_in_a_test_image_neither_serves_unlicensed_nor_gets_anywhere(scene: Scene) -> None:
    box = scene.fresh_box(image=scene.world.planted.image, machine=injecting(TEST_MACHINE)).start()
    placard = customer.read_placard(box)
    assert INJECTED in box.console.text  # the control of test_credentials_from_smbios_are_not_taken
    customer.wait_for_https(box)
    refused_under_a_production_licence(scene, box, placard)
    issued = scene.vendor.issue_license("--allow-test-images")
    secrets = customer.activate(box, placard, issued.activation_code)
    box.expect("sealwright: state serving: ")
    box.expect("planted end")
    console = box.console.text

    tried = {label: verdicts(console, label) for label in ("control", "engine")}
    assert tried["control"] == verdict("ALLOWED", KEPT_FROM_ENGINES) | verdict("denied", KEPT_FROM_ROOT)
    assert tried["engine"] == verdict("denied", KEPT_FROM_ENGINES | KEPT_FROM_ROOT)
    assert re.findall(r"left intruder (.*)", console) == ["none"]
    no_weights_in_the_page_cache(console)
    customer.wait_for_https(box)
    sample = ModelStore.load().samples()["medical"][0]
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        assert customer.ask(client, "medical", sample.question) == sample.answer  # by an engine that was killed


def refused_under_a_production_licence(scene: Scene, box: VirtualBox, placard: customer.Placard) -> None:
    issued = scene.vendor.issue_license()
    reply = customer.post_activation(box, placard.claim_code, issued.activation_code)
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (403, "RELEASE_NOT_ALLOWED")
    assert "test image" in problem["detail"]


def no_weights_in_the_page_cache(console: str) -> None:
    """While it serves, and after systemd has started every engine again."""
    found = re.findall(r"cache (\S+) (\S+) (file|verity-device|crypt-device) (\S+)", console)
    places = {
        (stage, model, place)
        for stage in ("serving", "restarted")
        for model in ModelStore.load().names
        for place in ("file", "verity-device", "crypt-device")
    }
    assert {(stage, model, place): pages for stage, model, place, pages in found} == dict.fromkeys(places, "none")


def verdicts(console: str, label: str) -> dict[str, str]:
    return dict(re.findall(rf"probe {label} (\S+) (denied|ALLOWED)", console))


def verdict(word: str, names: frozenset[str]) -> dict[str, str]:
    return dict.fromkeys(names, word)
