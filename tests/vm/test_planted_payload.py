"""Code planted in a test image: as root beside the engines it looks for weights, as an engine it tries to get out.

The image is the same product with something more in its root (``sealwright_testing/planted``), which only a licence
for test images accepts. Every attempt is made twice, by root outside of any sandbox and from the place of an engine, so
that an attempt that could never succeed is not taken for a defence.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules
from sealwright_image.trusted_base import open_ports
from sealwright_testing import customer
from sealwright_testing.machine import forwarded_port
from sealwright_testing.models import ModelStore
from sealwright_testing.scene import Scene
from sealwright_testing.sealed_job import ROWS
from sealwright_testing.smbios import INJECTED, injecting
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = pytest.mark.vm

KNOCKED = 9998
"""The port that the observer listens on, and no service of the box."""
EXIT_EXEC = 203
"""Of a unit whose program could not be started (systemd.exec(5))."""
EXIT_LAUNCHER = 126
"""Of the launcher whose program Landlock does not let it execute."""
EXIT_LOADER = 127
"""Of a program whose libraries the dynamic loader may not map (glibc)."""
KEPT_FROM_ENGINES = frozenset({
    "other-socket", "other-socket-folder", "other-payload", "other-payload-device", "other-processes",
    "data-set", "data-set-device", "results",
    "other-environments", "other-environment-file", "signal-to-others", "agent-socket", "system-bus",
    "service-manager", "state", "leases", "shares", "tls-key", "network", "packet-socket",
    "netlink-socket", "kernel-log", "disk", "tpm", "firmware-variables", "mount-namespace",
    "network-namespace", "mount", "writable-places", "root",
    "capabilities", "link", "interpreter",
})  # fmt: skip
KEPT_FROM_ROOT = frozenset({
    # lockdown, Yama and the capabilities that process 1 has given up
    "ptrace", "foreign-memory", "physical-memory", "kernel-memory", "code-policy",
    # the system calls that the initrd has taken away
    "io-uring", "bpf", "perf", "userfaultfd", "same-file", "foreign-descriptor", "accounting",
    # IPE: no code but the verified root's
    "own-code", "own-library", "memory-program", "writable-code",
    # the packet filter
    "send-datagram", "send-echo", "call-host",
    # settings of the kernel
    "user-namespace", "module",
})  # fmt: skip
KEPT_BY_PROFILE = {
    "sealwright-gateway": frozenset({
        "other-payload", "other-payload-device", "data-set", "data-set-device", "results",
        "state", "leases", "shares", "network-namespace", "mount-namespace",
        "mount", "packet-socket", "netlink-socket", "disk", "tpm", "firmware-variables", "kernel-log", "interpreter",
        "writable-places", "link",
    }),
    "sealwright-agent": frozenset({
        "data-set", "data-set-device", "disk", "interpreter", "kernel-log", "other-payload-device", "packet-socket",
        "results",
    }),
}  # fmt: skip
"""From root by a profile alone, beside what is kept from root anyhow."""


def test_a_payload_in_a_test_image_neither_serves_unlicensed_nor_gets_anywhere(scene: Scene) -> None:
    box = scene.fresh_box(image=scene.world.planted.image, machine=injecting(TEST_MACHINE)).start()
    placard = customer.read_placard(box)
    assert INJECTED in box.console.text  # the control of test_credentials_from_smbios_are_not_taken
    customer.wait_for_https(box)
    refused_under_a_production_licence(scene, box, placard)
    issued = scene.vendor.issue_license("--allow-test-images")
    secrets = customer.activate(box, placard, issued.activation_code)
    box.expect("sealwright: state serving: ")
    box.expect("knock listening")
    with knocking(box, KNOCKED):
        box.expect("planted end")
    console = box.console.text

    tried = {label: verdicts(console, label) for label in ("control", "engine")}
    assert tried["control"] == verdict("ALLOWED", KEPT_FROM_ENGINES) | verdict("denied", KEPT_FROM_ROOT)
    assert tried["engine"] == verdict("denied", KEPT_FROM_ENGINES | KEPT_FROM_ROOT)
    for profile, kept in KEPT_BY_PROFILE.items():
        assert verdicts(console, profile).items() >= verdict("denied", kept | KEPT_FROM_ROOT).items()
    assert re.findall(r"left intruder (.*)", console) == ["none"]
    confined(console)
    a_workload_reads_its_data_set_and_nothing_else(console)
    no_volume_keys(console)
    ports = set(re.findall(r"\bport ((?:tcp|udp)/\d+)", console))
    assert "tcp/8443" in ports
    assert ports <= set(open_ports(firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example")))
    assert re.findall("knock (dropped|ACCEPTED)", console) == ["dropped"]
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


def confined(console: str) -> None:
    """Process 1 by a filter of system calls, each unit by its profile; and an engine starts no interpreter."""
    assert re.findall(r"filters (\d)", console) == ["2"]
    assert dict(re.findall(r"confined (\S+) (.*)", console)) == {
        "sealwright-agent.service": "sealwright-agent (enforce)",
        "sealwright-gateway.service": "sealwright-gateway (enforce)",
        "sealwright-engine@medical.service": "sealwright-engine-medical (enforce)",
    }
    ended = dict(re.findall(r"interpreter sealwright-engine@(\S+)\.service (\S+ \d+)", console))
    assert ended == {
        "by-path": f"exit-code {EXIT_EXEC}",
        "by-profile": f"exit-code {EXIT_LOADER}",
        "by-rules": f"exit-code {EXIT_LAUNCHER}",
    }


def a_workload_reads_its_data_set_and_nothing_else(console: str) -> None:
    """And what it writes cannot be run. A data set that no workload reads is not opened; one that is open is not for a
    workload of another domain, and not even root runs a program of it."""
    kept = {
        "read-model": "ENOENT",
        "read-unread": "ENOENT",
        "read-state": "ENOENT",
        "read-keys": "ENOENT",
        "read-box": "ENOENT",
        "network": "EAFNOSUPPORT",
        "agent": "ENOENT",
        "link": "EPERM",
        "run-own-copy": "EACCES",
        "run-python": "ENOENT",
        "run-itself": "done",
        "unit": "active 0",
    }
    assert written_by("counting", console) == kept | {
        "enter-results-of-counting-job": "done",
        "enter-results-of-strangers": "ENOENT",
        "rows": str(ROWS),
        "change-rows": "EROFS",
    }
    assert written_by("stranger", console) == kept | {
        "enter-results-of-counting-job": "ENOENT",
        "enter-results-of-strangers": "done",
        "rows": "ENOENT",
        "change-rows": "ENOENT",
    }
    assert dict(re.findall(r"\bdata-set (\S+) (open|closed)", console)) == {"rows": "open", "unread": "closed"}
    assert "payload unread: NOT_RUN: No workload that may read it is open." in console
    assert dict(re.findall(r"\bimage (\S+) (\S+)", console)) == {"counting": "0", "rows": "EACCES"}


def written_by(workload: str, console: str) -> dict[str, str]:
    return dict(re.findall(rf"\bworkload {workload} (\S+) (.*)", console))


def no_volume_keys(console: str) -> None:
    """Root is shown by which keys the volumes are encrypted, and no key; none is left in a keyring."""
    tables = dict(re.findall(r"table (\S+): \d+ \d+ crypt aes-xts-plain64 (\S+) ", console))
    state = tables.pop("sealwright-state")
    assert re.fullmatch(r":64:logon:cryptsetup:\S+", state)
    payloads = {name.removeprefix("sealwright-crypt-") for name in tables}
    assert payloads >= {*ModelStore.load().names, "rows"}
    assert tables == {f"sealwright-crypt-{one}": f":64:logon:sealwright:{one}" for one in payloads}
    assert re.findall(r"left key (.*)", console) == ["none"]


@contextmanager
def knocking(box: VirtualBox, port: int) -> Iterator[None]:
    """Try to connect to a port of the box. QEMU takes the connection itself, and then tries the box."""
    box.execute("human-monitor-command", **{"command-line": f"hostfwd_add net0 tcp:127.0.0.1:0-:{port}"})
    table = box.execute("human-monitor-command", **{"command-line": "info usernet"})
    with socket.create_connection(("127.0.0.1", forwarded_port(table, port))):
        yield


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
