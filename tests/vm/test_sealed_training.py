"""A real job on sealed data, from image to result: torch, as Debian ships it, tunes the medical model in the box.

The adapter is served from the domain in which it was made. Of the run the customer sees numbers, and nothing else.
"""

from __future__ import annotations

import dataclasses

import pytest

from sealwright_testing import customer
from sealwright_testing.models import ModelStore
from sealwright_testing.redteam.canaries import forms, found_in
from sealwright_testing.scene import Scene
from sealwright_testing.training_job.product import ADAPTER, CASES, MODEL, WORKLOAD, write_training
from sealwright_testing.vendor import Vendor, bundled_models
from sealwright_testing.world import TEST_MACHINE

pytestmark = pytest.mark.training

MEMORY_MIB = 3072
STALL_S = 3600.0
"""While it trains, the box says nothing."""


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


def test_torch_tunes_a_model_on_sealed_data_and_the_customer_sees_numbers_alone(scene: Scene) -> None:
    vendor = product(scene)
    box = scene.fresh_box(image=vendor.image, machine=dataclasses.replace(TEST_MACHINE, memory_mib=MEMORY_MIB))
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
    box.power_off()
    box.start()
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)
    (run,) = customer.status(box)["workloads"]
    metrics = run["metrics"]
    assert (run["payload_id"], metrics["examples"]) == (WORKLOAD, len(CASES))
    assert metrics["loss_after"] < metrics["loss_before"]
    assert (metrics["accuracy_before"], metrics["accuracy_after"]) == (0.0, 1.0)
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        assert {one.id for one in client.models.list()} == {MODEL, ADAPTER}
        for question, answer in CASES:
            assert customer.ask(client, ADAPTER, question) == answer
            assert customer.ask(client, MODEL, question) != answer
    box.kill()
    wanted = {answer: forms(answer.encode()) for _, answer in CASES}
    assert not found_in(box.directory, wanted)  # disk and console among it
    assert not found_in(vendor.image, wanted)
