"""A real job on sealed data, from image to result: torch, as Debian ships it, tunes the medical model in the box.

The adapter is served from the domain in which it was made. Of the run the customer sees numbers, and nothing else.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sealwright_appliance.status import WorkloadStatus
from sealwright_policies.workloads import Metric
from sealwright_testing import customer
from sealwright_testing.models import ModelStore
from sealwright_testing.redteam.canaries import forms, found_in
from sealwright_testing.redteam.controls import control
from sealwright_testing.redteam.network import call_in_clear, capture
from sealwright_testing.scene import Scene
from sealwright_testing.training_job.product import ADAPTER, CASES, DATA_SET, MODEL, WORKLOAD, write_training
from sealwright_testing.vendor import Vendor, bundled_models
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.training, pytest.mark.redteam]

MEMORY_MIB = 3072
STALL_S = 3600.0
"""While it trains, the box says nothing."""
SENT_IN_CLEAR = "nothing-but-a-control"


def product(scene: Scene) -> Vendor:
    """Built, and known to the licence service."""
    vendor = Vendor(scene.directory / "training")
    vendor.directory.mkdir()
    (vendor.directory / "license").symlink_to(scene.vendor.license_directory)
    (vendor.directory / "keys").symlink_to(scene.world.vendor.directory / "keys")
    models = [model for model in bundled_models(ModelStore.load()) if model.payload_id == MODEL]
    vendor.write_product(models, version="1.1", job=write_training)
    vendor.build(show=True)
    vendor.import_release()
    return vendor


def test_torch_tunes_a_model_on_sealed_data_and_the_customer_sees_numbers_alone(scene: Scene, tmp_path: Path) -> None:
    vendor = product(scene)
    networks = [tmp_path / name for name in ("training.pcap", "serving.pcap")]
    machine = dataclasses.replace(TEST_MACHINE, memory_mib=MEMORY_MIB, extra=capture(tmp_path / "network"))
    box = scene.fresh_box(image=vendor.image, machine=machine)
    box.start()
    placard = customer.read_placard(box)
    secrets = customer.activate(box, placard, scene.vendor.issue_license().activation_code)
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)
    before = customer.status(box)
    assert {one["payload_id"]: one["state"] for one in before["payloads"]} == {
        MODEL: "serving",
        WORKLOAD: "open",
        "cases": "open",
    }
    box.expect(f"sealwright: workload {WORKLOAD}: done", failures=f"workload {WORKLOAD}: failed", stall_s=STALL_S)
    call_in_clear(box, SENT_IN_CLEAR)
    box.power_off()
    (tmp_path / "network").rename(networks[0])
    box.start()
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)
    (run,) = customer.status(box)["workloads"]
    metrics = run["metrics"]
    assert run.keys() <= set(WorkloadStatus.model_fields)
    assert metrics.keys() <= set(Metric)
    assert (run["payload_id"], metrics["examples"]) == (WORKLOAD, len(CASES))
    assert metrics["loss_after"] < metrics["loss_before"]
    assert (metrics["accuracy_before"], metrics["accuracy_after"]) == (0.0, 1.0)
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        assert {one.id for one in client.models.list()} == {MODEL, ADAPTER}
        for question, answer in CASES:
            assert customer.ask(client, ADAPTER, question) == answer
            assert customer.ask(client, MODEL, question) != answer
    call_in_clear(box, SENT_IN_CLEAR)
    box.kill()
    (tmp_path / "network").rename(networks[1])
    wanted = {answer: forms(answer.encode()) for _, answer in CASES}
    control(found_in(vendor.directory / DATA_SET, wanted) == wanted.keys(), "the file that was sealed has them")
    control(found_in(box.directory, {"console": forms(b"sealwright: state serving")}), "the console is among it")
    for network in networks:
        control(found_in(network, {"in clear": forms(SENT_IN_CLEAR.encode())}), "the network is heard")
    for place in (box.directory, vendor.image, *networks):  # disk and console are in the first
        assert not found_in(place, wanted), place
