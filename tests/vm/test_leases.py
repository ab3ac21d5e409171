"""Leases over power cuts, without the service, and past their end."""

from __future__ import annotations

import dataclasses

import pytest

from sealwright_testing import customer
from sealwright_testing.models import ModelStore
from sealwright_testing.scene import Scene
from sealwright_testing.tpm_clock import advance_tpm_clock
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam]

DAY_MS = 86_400_000
ALONE = dataclasses.replace(TEST_MACHINE, isolated=True)
"""The box can be reached and reaches nobody: its licence service is away."""


def test_renewed_then_cut_off_then_booted_alone_it_serves(scene: Scene) -> None:
    """Renewal changes the TPM's counter: a power cut right behind it must not leave a box without a lease that fits."""
    issued = scene.vendor.issue_license("--renew-after", "5")
    box = scene.fresh_box().start()
    placard = customer.read_placard(box)
    secrets = customer.activate(box, placard, issued.activation_code)
    box.expect("sealwright: state serving: ")
    box.expect("sealwright: renewal: ok")
    box.kill()
    box.with_machine(isolated=True).start()
    box.expect("sealwright: state serving: ", failures="sealwright: state (locked|ended)")
    customer.wait_for_https(box)
    sample = ModelStore.load().samples()["medical"][0]
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        assert customer.ask(client, "medical", sample.question) == sample.answer
    assert customer.status(box)["lease"]["number"] >= 2


@pytest.mark.long
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
