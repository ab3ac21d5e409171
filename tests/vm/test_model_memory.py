"""A machine with memory for one model of two: both answer, each in its turn; systemd starts and stops the engines."""

from __future__ import annotations

import dataclasses

import pytest

from sealwright_appliance.engine_placement import BOX_MIB, CACHE_SHARE, CONTEXT_LEAST, need_mib
from sealwright_image.engine_memory import engine_need
from sealwright_image.gguf import read_gguf
from sealwright_testing import customer
from sealwright_testing.models import ModelStore
from sealwright_testing.scene import Scene
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.long]

OF_THE_KERNEL_MIB = 72
"""What is no memory for anybody: firmware's tables, the kernel's code and its map of pages."""
TURNS = 2
"""The first model is loaded as the box starts, and asked first."""


def test_two_models_take_turns_where_there_is_memory_for_one(scene: Scene) -> None:
    store = ModelStore.load()
    needs = [
        need_mib(engine_need(read_gguf(store.path(name)), embeddings=False), CONTEXT_LEAST) for name in store.names
    ]
    room = (max(needs) + sum(needs)) // 2
    memory = (room + BOX_MIB) * CACHE_SHARE // (CACHE_SHARE - 1) + OF_THE_KERNEL_MIB
    # Not the activated box: the firmware measures how much memory there is.
    issued = scene.vendor.issue_license()
    box = scene.fresh_box(machine=dataclasses.replace(TEST_MACHINE, memory_mib=memory)).start()
    placard = customer.read_placard(box)
    key = customer.activate(box, placard, issued.activation_code)["api_key"]
    box.expect("sealwright: state serving: ", failures="sealwright: state (locked|ended)")
    customer.wait_for_https(box)
    with (
        customer.colleague(box, key, placard.tls_fingerprint) as client,
        customer.plain_client(box, key, placard.tls_fingerprint) as administrator,
    ):
        told = administrator.get("/admin/load").json()
        assert max(needs) <= told["memory_mib"] < sum(needs)
        assert sorted(one["presence"] for one in told["models"]) == ["loaded", "out"]
        for turn in range(TURNS):
            for model, samples in store.samples().items():
                assert customer.ask(client, model, samples[turn].question) == samples[turn].answer
        told = administrator.get("/admin/load").json()
    assert sum(one["loads"] for one in told["models"]) == TURNS * len(needs) - 1
    assert sorted(one["presence"] for one in told["models"]) == ["loaded", "out"]
