"""A clean Debian server in a network of its own, and a box: one of each for every file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwright_testing.debian_server import OPERATOR, server_network
from sealwright_testing.deployed_vendor import DeployedVendor
from sealwright_testing.fleet import PORT, BackupIdentity, Fleet, common_settings
from sealwright_testing.fleet_scene import FIRST, MONITORING, SECOND, SERVICE, STRANGER, Scene, take_address
from sealwright_testing.simulated_box import SimulatedBox, new_enrolled_box


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A clean server with the service's address, and an inventory that names it."""
    folder = tmp_path_factory.mktemp("fleet")
    identities = {name: BackupIdentity.create(folder / f"{name}.identity") for name in ("database", "keys")}
    settings = common_settings(folder, f"https://{SERVICE}:{PORT}") | {
        "license_server_management_networks": [f"{OPERATOR}/32"],
        "license_server_monitoring_networks": [f"{MONITORING}/32"],
        "license_server_limits": {"requests_per_minute": 100_000},
        "license_server_database_password": "a password of the tests",
        **{f"license_server_backup_{name}_recipient": one.recipient for name, one in identities.items()},
        **{f"license_server_backup_{name}_copies": str(folder / name) for name in identities},
    }
    with server_network(folder, MONITORING, STRANGER) as network:
        made = Scene(folder, network, Fleet(folder, settings), network.boot("license-1", FIRST), identities)
        made.fleet.add(made.server, license_server_database_clients=[f"{SECOND}/32"])
        take_address(made.server)
        yield made


@pytest.fixture(scope="module")
def deployed(scene: Scene) -> None:
    """For tests that are not about deploying."""
    scene.fleet.run("deploy-license-server")


@pytest.fixture(scope="module")
def box(scene: Scene) -> Iterator[SimulatedBox]:
    """A box with a software TPM, enrolled with the deployed service."""
    vendor = DeployedVendor(scene.folder / "vendor", server=scene.server)
    made = new_enrolled_box(vendor, scene.folder / "box")
    yield made
    made.tpm.kill()
