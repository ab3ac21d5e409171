"""A data set goes from the box that has it to the box whose release chains it, and to no other.

Storage and compute node are new boxes of one image; a third box runs another release of the same vendor, whose domains
have the same names and let no data set pass. What goes is in clear in the boxes' memory alone: a canary in it is sought
on the wire between them, on their disks and consoles, and at the licence service. Boxes reach each other over a network
of their own, through the packet filter of the image. None is a copy of the activated box, whose TPM other cases
restart: the service would hold its metering for rolled back, and not hear of the flow.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sealwright_testing import customer
from sealwright_testing.box_network import BoxNetwork
from sealwright_testing.flow_texts import PEERS
from sealwright_testing.machine import Machine
from sealwright_testing.redteam.canaries import forms, found_in
from sealwright_testing.redteam.controls import control
from sealwright_testing.scene import Scene
from sealwright_testing.vendor import CommandError
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE, build_unchained

pytestmark = [pytest.mark.vm, pytest.mark.redteam, pytest.mark.long]

STORAGE, COMPUTE, THIRD = range(3)
CANARY = f"canary-{secrets.token_hex(12)}".encode()
RECORDS = os.urandom(1 << 20) + b"id,finding\n" * 7 + CANARY * 7
"""Two frames."""
UNLOCKED = "sealwright: state unlocked: "
"""Files of domains wait for no engine."""


@dataclass(frozen=True, slots=True)
class Node:
    """A box that serves, its administrator's key, and where other boxes reach it."""

    box: VirtualBox
    placard: customer.Placard
    api_key: str
    url: str

    def domain(self, command: str, *words: str | Path) -> Any:
        """``sealwright-box domain``; its JSON."""
        return customer.administer(self.box, self.placard, self.api_key, "domain", command, *words)

    def refused(self, command: str, *words: str | Path) -> str:
        """The same, which has to fail; what it says."""
        with pytest.raises(CommandError) as refusal:
            self.domain(command, *words)
        assert refusal.value.code == 10, refusal.value.output
        return refusal.value.output

    def expect(self, sender: Node) -> None:
        """Let a box come."""
        self.domain("receive", "training", "--from", "records", "--device", sender.placard.device_id)

    def files(self, domain: str) -> list[tuple[str, int]]:
        """Names and sizes of what lies in a domain."""
        (found,) = [one for one in self.domain("list")["domains"] if one["name"] == domain]
        return [(file["name"], file["size"]) for file in found["files"]]


def to(receiver: Node) -> tuple[str, ...]:
    """Words of ``send``."""
    return ("--to", "training", "--peer", receiver.url, "--device", receiver.placard.device_id)


@pytest.fixture
def network() -> Iterator[BoxNetwork]:
    """Between the boxes of a case."""
    with BoxNetwork(PEERS, boxes=3) as made:
        yield made


@pytest.fixture
def nodes(scene: Scene, network: BoxNetwork) -> tuple[Node, Node, Node]:
    """Storage, compute and third box, their volumes open."""
    machines = [tapped(network.machine(TEST_MACHINE, one), scene.directory, one) for one in (STORAGE, COMPUTE, THIRD)]
    unchained = build_unchained(scene.world, scene.vendor, scene.directory / "unchained").image
    fresh = [
        scene.fresh_box(name=name, machine=machine, image=image).start()
        for name, machine, image in zip(("storage", "compute", "third"), machines, (None, None, unchained), strict=True)
    ]
    with ThreadPoolExecutor() as beside:
        storage, compute, third = beside.map(partial(activated, scene, network), (STORAGE, COMPUTE, THIRD), fresh)
    nodes = (storage, compute, third)
    for node in nodes:
        node.box.expect(UNLOCKED)
        customer.wait_for_https(node.box)
    return nodes


def tapped(machine: Machine, folder: Path, place: int) -> Machine:
    """What passes its card to other boxes is kept."""
    dump = f"filter-dump,id=tap,netdev=peers,maxlen=65535,file={folder / f'wire-{place}.pcap'}"
    return dataclasses.replace(machine, extra=(*machine.extra, "-object", dump))


def activated(scene: Scene, network: BoxNetwork, place: int, box: VirtualBox) -> Node:
    """A new box under a licence of its own; it restarts."""
    placard = customer.read_placard(box)
    secrets = customer.activate(box, placard, scene.vendor.issue_license().activation_code)
    return Node(box, placard, secrets["api_key"], network.url(place))


def test_a_data_set_goes_to_the_chained_box_and_to_no_other(
    scene: Scene, nodes: tuple[Node, Node, Node], tmp_path: Path
) -> None:
    storage, compute, third = nodes
    file = tmp_path / "cohort-7.csv"
    file.write_bytes(RECORDS)
    storage.domain("import", "records", file)
    compute.expect(storage)
    flow_id = storage.domain("send", "records", file.name, *to(compute))["flow_id"]
    assert compute.files("training") == [(file.name, len(RECORDS))]
    recorded(scene, storage, compute, flow_id)
    third_box_is_refused(storage, compute, third, file)
    nothing_in_clear(scene, nodes, file)


def nothing_in_clear(scene: Scene, nodes: tuple[Node, Node, Node], file: Path) -> None:
    """Of what the boxes had, and sent each other."""
    wanted = {"records": forms(CANARY)}
    control(found_in(file, wanted), "it is in what was brought")
    for node in nodes:
        control(node.box.console.text, "its console is heard")
        node.box.power_off()
    wires = sorted(scene.directory.glob("wire-*.pcap"))
    control(sum(one.stat().st_size for one in wires) > 2 * len(RECORDS), "both ends have heard the file pass")
    places = [*wires, *(one.box.directory for one in nodes), scene.vendor.directory / "license"]
    assert [str(one) for one in places if found_in(one, wanted)] == []


def recorded(scene: Scene, storage: Node, compute: Node, flow_id: str) -> None:
    """On both sides, and at the licence service."""
    for node, role in ((storage, "sent"), (compute, "received")):
        (record,) = node.domain("flows")["records"]
        assert (record["role"], record["terms"]["flow_id"]) == (role, flow_id)
        customer.administer(node.box, node.placard, node.api_key, "metering", "report")
    told = {("sent", storage.placard.device_id, ""), ("received", compute.placard.device_id, "")}

    def both() -> bool:
        listed = scene.vendor.license("flows", "list", scene.vendor.license_directory, "--flow", flow_id)["flows"]
        return {(one["role"], one["device_id"], one["finding"]) for one in listed} == told

    storage.box.wait_until(both, "the licence service to hear of the flow from both sides")


def third_box_is_refused(storage: Node, compute: Node, third: Node, file: Path) -> None:
    """By either as a receiver; as a sender it refuses itself, and is not let in unexpected.

    The compute node hears three hellos in all, which is what a box answers a network at once.
    """
    for sender in (storage, compute):
        third.expect(sender)
    compute.domain("import", "records", file)
    for sender in (storage, compute):
        assert "MANIFEST_MISMATCH" in sender.refused("send", "records", file.name, *to(third))
    assert third.files("training") == []

    third.domain("import", "records", file)
    assert "DOMAIN_NOT_CHAINED" in third.refused("send", "records", file.name, *to(compute))
    third.domain("import", "records", file, "--kind", "results", "--name", "results")
    results = ("send", "records", "results", "--kind", "results", *to(compute))
    assert "DOMAIN_FORBIDS" in third.refused(*results)
    compute.expect(third)
    assert "MANIFEST_MISMATCH" in third.refused(*results)
    assert compute.files("training") == [(file.name, len(RECORDS))]
