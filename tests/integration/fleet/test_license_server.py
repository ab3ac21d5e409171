"""A licence server on a clean Debian: deployed, deployed again, restarted under load, backed up, restored elsewhere.

The tests of this file build on each other, in their order: each takes the server as the one before has left it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_testing.debian_server import DebianServer, ServerNetwork, server_network
from sealwright_testing.deployed_vendor import DeployedVendor
from sealwright_testing.fleet import BackupIdentity, Fleet, common_settings
from sealwright_testing.simulated_box import SimulatedBox, new_enrolled_box

ADDRESS = "10.77.0.11"
EXPOSURE_LIMIT = 2.0
"""Of ten, by systemd-analyze security."""
UNITS = ("sealwright-license@1.service", "sealwright-license@2.service", "sealwright-license-operators.service",
         "sealwright-license-backup.service")  # fmt: skip


@dataclass
class Scene:
    """What the tests share."""

    network: ServerNetwork
    fleet: Fleet
    server: DebianServer
    database_identity: BackupIdentity
    keys_identity: BackupIdentity
    folder: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A clean server, and an inventory that names it."""
    folder = tmp_path_factory.mktemp("fleet")
    settings, database, keys = common_settings(folder, ADDRESS)
    with server_network(folder) as network:
        server = network.boot("license-1", ADDRESS)
        fleet = Fleet(folder, settings)
        fleet.add(server)
        yield Scene(network, fleet, server, database, keys, folder)


@pytest.fixture(scope="module")
def box(scene: Scene) -> Iterator[SimulatedBox]:
    """A box with a software TPM, enrolled with the deployed service."""
    vendor = DeployedVendor(scene.folder / "vendor", server=scene.server)
    made = new_enrolled_box(vendor, scene.folder / "box")
    yield made
    made.tpm.kill()


def lease_number(box: SimulatedBox) -> int:
    """Of the box's newest lease."""
    return max(lease.number for lease in box.store.load_leases())


def renew_lease(box: SimulatedBox) -> int:
    """Have a box renew; returns the number of the new lease."""
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        lease = renew(renewal, tpm)
    assert lease is not None
    return lease.number


# --- deploying --------------------------------------------------------------------------------------------------------


def test_check_mode_on_a_fresh_host_changes_nothing(scene: Scene) -> None:
    """It says what it would do, and neither packages nor files come of it."""
    assert scene.fleet.run("deploy-license-server", "--check")["license-1"] > 0
    assert scene.server.run("ls", "/opt", "/var/lib/sealwright", check=False) == "/opt:\n"


def test_the_first_run_deploys(scene: Scene) -> None:
    """Every unit runs, none has failed."""
    assert scene.fleet.run("deploy-license-server")["license-1"] > 0
    for unit in (*UNITS[:3], "sealwright-license.socket", "sealwright-license-backup.timer", "nftables.service"):
        assert scene.server.run("systemctl", "is-active", unit).strip() == "active"
        assert scene.server.run("systemctl", "is-enabled", unit).strip() == "enabled"
    assert scene.server.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


def test_a_second_run_changes_nothing(scene: Scene) -> None:
    assert scene.fleet.run("deploy-license-server") == {"license-1": 0}


def test_units_are_hardened(scene: Scene) -> None:
    """systemd's own measure, which fails above the limit."""
    for unit in UNITS:
        scene.server.run("systemd-analyze", "security", f"--threshold={EXPOSURE_LIMIT * 10:.0f}", "--no-pager", unit)


def test_a_box_enrols_and_renews(box: SimulatedBox) -> None:
    """With a software TPM, over the network, with the service's own authority."""
    before = lease_number(box)
    assert renew_lease(box) == before + 1
