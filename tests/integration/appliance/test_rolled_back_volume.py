"""An older copy of the disk is put back: what comes back with it. The state volume has no freshness.

Each of these is a residual that SECURITY.md tells of (Known weaknesses); were one refused, it would say too much. What
is not taken back has tests of its own: leases (integration/leases), the claim (test_claim_counter), what is counted for
metering (integration/chain/test_metering).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.outflow.ledger import Asked
from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy, ReleaseOutflow
from sealwright_policies.wire.state_approval import approve_release, sign_approvals
from sealwright_policies.wire.wipe_order import volume_id
from sealwright_policies.wire.withdrawal import sign_withdrawal
from sealwright_testing.redteam.controls import control
from sealwright_testing.running_box import RunningBox, unlocked_box, wait_until
from sealwright_testing.simulated_box import SimulatedVendor
from sealwright_testing.simulated_disk import Disk

pytestmark = pytest.mark.redteam

MODEL = "medical"
BUDGET = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, requests=10, tokens=100)
POLICY = ReleaseOutflow(version=1, models={MODEL: OutflowPolicy(budgets=(BUDGET,))})


@contextmanager
def rolled_back(running: RunningBox, folder: Path) -> Iterator[None]:
    """What is done meanwhile is done to a state volume whose older copy is put back; the TPM goes on."""
    state, older = running.simulated.paths.state, folder / "older"
    running.stop_agent()
    shutil.copytree(state, older)
    running.start_agent(BoxState.UNLOCKED, "The payloads are open.")
    yield
    running.stop_agent()
    shutil.rmtree(state)
    shutil.copytree(older, state)
    running.simulated.boot()
    running.simulated.go_up()
    running.start_agent(BoxState.UNLOCKED, "The payloads are open.")


def keys(running: RunningBox, admin_key: str, verb: str, name: str) -> str:
    """Run ``sealwright-box keys``; the new key, if it is one."""
    identified = ("--fingerprint", running.fingerprint, "--json")
    done = running.command("keys", verb, running.url, name, *identified, typed=f"{admin_key}\n")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout).get("api_key", ""))


def status_with(running: RunningBox, key: str) -> int:
    """Of a request."""
    with running.http() as client:
        return client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_revoked_key_comes_back(running: RunningBox, tmp_path: Path) -> None:
    admin_key = running.serve()
    key = keys(running, admin_key, "create", "ward")
    with rolled_back(running, tmp_path):
        keys(running, admin_key, "revoke", "ward")
        wait_until(lambda: status_with(running, key) == 401)
    wait_until(lambda: status_with(running, key) == 200)


def test_a_key_made_since_is_gone(running: RunningBox, tmp_path: Path) -> None:
    """Nothing is added by an older copy: whoever has the disk has no key of his own by it."""
    admin_key = running.serve()
    with rolled_back(running, tmp_path):
        key = keys(running, admin_key, "create", "ward")
        wait_until(lambda: status_with(running, key) == 200)
    wait_until(lambda: status_with(running, key) == 401)


def test_used_budgets_come_back(running: RunningBox, tmp_path: Path) -> None:
    running.serve()

    def granted() -> int:
        """Tokens that an agent, started anew, hands out."""
        outflow = BoxOutflow(running.simulated.paths.outflow_used, POLICY, frozenset({MODEL}))
        return outflow.allow(MODEL, Asked("ward", requests=1, tokens=100)).tokens

    with rolled_back(running, tmp_path):
        control(granted() == 100, "there is a budget")
        control(granted() == 0, "it is used")
    assert granted() == 100


def test_a_withdrawn_approval_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the older record the state volume opens under a release that the customer has withdrawn."""
    vendor = SimulatedVendor(tmp_path / "vendor")
    disk = Disk.blank(vendor, tmp_path / "box")
    try:
        first, key = disk.boot(monkeypatch), customer_key(disk)
        vendor.update("1.3.0")
        approvals = sign_approvals(approve_release(vendor.release, key), key)
        volume = volume_id(disk.binding.public, disk.binding.private)
        withdrawal = sign_withdrawal(volume, vendor.release.release_id, key)
        with (
            unlocked_box(disk.box, cast(str, first.tls_fingerprint), disk.console) as running,
            running.http() as client,
        ):
            assert client.post("/approvals", json=approvals.model_dump(mode="json")).status_code == 200
            older = disk.binding_device.read_bytes()
            assert client.post("/withdrawals", json=withdrawal.model_dump(mode="json")).status_code == 200
        disk.box.install()
        control(disk.boot(monkeypatch).code == BoxCode.STATE_VOLUME, "it was withdrawn")
        disk.binding_device.write_bytes(older)
        assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    finally:
        disk.box.tpm.kill()


def customer_key(disk: Disk) -> ec.EllipticCurvePrivateKey:
    """As the customer got it at the claim."""
    code = Claim(disk.box.paths.claim).code()
    assert code is not None
    key = load_pem_private_key(Claim(disk.box.paths.claim).opened_with(code).customer_key_pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
