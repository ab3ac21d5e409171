"""A lease past its end. One over a power cut, without the service, is in test_happy_path."""

from __future__ import annotations

import dataclasses

import pytest

from sealwright_testing import customer
from sealwright_testing.scene import Scene
from sealwright_testing.tpm_clock import advance_tpm_clock
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam, pytest.mark.long]

DAY_MS = 86_400_000
ALONE = dataclasses.replace(TEST_MACHINE, isolated=True)
"""The box can be reached and reaches nobody: its licence service is away."""


def test_a_lease_used_up_refuses_and_serves_again_after_renewal(scene: Scene) -> None:
    box = scene.activated_box(machine=ALONE)
    advance_tpm_clock(box.tpm_state, 40 * DAY_MS)
    box.start()
    reason = box.expect("sealwright: state locked: (.*)", failures="sealwright: state (serving|unlocked)")
    assert reason.startswith("LEASE_EXPIRED")
    customer.wait_for_https(box)
    fingerprint = scene.activated.placard.tls_fingerprint
    with customer.colleague(box, scene.activated.api_key, fingerprint) as client:
        refusal = customer.refusal(client, "medical")
    assert (refusal.status_code, refusal.code) == (503, "LEASE_EXPIRED")
    box.kill()

    box.with_machine(isolated=False).start()
    box.expect("sealwright: state locked: LEASE_EXPIRED")
    box.expect("sealwright: renewal: ok")
    box.expect("sealwright: state serving: ")
