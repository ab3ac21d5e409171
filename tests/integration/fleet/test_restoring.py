"""A licence server that is deployed: backed up, doubled behind a balancer, and restored on a new host.

The tests of this file build on each other, in their order: each takes the servers as the one before has left them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sealwright_licensing import migrations
from sealwright_licensing.revisions import newest_revision
from sealwright_testing.debian_server import DebianServer
from sealwright_testing.deployed_vendor import FOLDER, USER
from sealwright_testing.fleet_scene import (
    BACKUPS,
    FIRST,
    PROCESSES,
    SECOND,
    SERVICE,
    Scene,
    lease_number,
    renew_lease,
    schema,
    take_address,
)
from sealwright_testing.simulated_box import SimulatedBox

DOCS = Path(__file__).resolve().parents[3] / "docs"
MIGRATIONS = Path(migrations.__path__[0]) / "versions"
BALANCER, NEW = "10.77.0.13", "10.77.0.14"
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200), pytest.mark.usefixtures("deployed")]
"""For each test: a deployment is minutes of processor time where others work too."""


# --- backup and restore -----------------------------------------------------------------------------------------------


def test_a_backup_is_two_archives_for_two_people(scene: Scene, box: SimulatedBox) -> None:
    """Each opens with its own identity alone; the copies lie in folders of their own."""
    renew_lease(box)
    scene.suspended = box.vendor.issue().license_id
    scene.fleet.run("backup-license-server")
    for name, identity in scene.identities.items():
        (archive,) = (scene.folder / name).iterdir()
        scene.archives[name] = archive
        other = next(one for one in scene.identities.values() if one is not identity)
        assert identity.opens(archive)
        assert not other.opens(archive)
    renew_lease(box)  # from here on the box is ahead of the backup, and so is whoever keeps a checkpoint
    scene.server.run("sealwright-license", "license", "suspend", FOLDER, scene.suspended, user=USER)
    printed = scene.server.run("sealwright-license", "audit", "checkpoint", FOLDER, "--wait", user=USER)
    scene.checkpoint.write_text(printed)


# --- two servers behind a balancer ------------------------------------------------------------------------------------


def test_two_servers_share_a_database_behind_a_balancer(scene: Scene, box: SimulatedBox) -> None:
    """The second begins with the keys alone; whichever of the two is away, the box renews."""
    second = scene.add("license-2", SECOND, license_server_database_on="license-1")
    scene.fleet.run("restore-license-server", "--limit=license-2", **scene.restored("keys"))
    assert scene.fleet.run("deploy-license-server", "--limit=license-2") == {"license-2": 0}
    balancer = scene.network.boot("balancer", BALANCER)
    balancer.run("apt-get", "--yes", "--quiet", "--no-install-recommends", "install", "haproxy")
    for name, content in (
        ("haproxy.cfg", documented_balancer(FIRST, SECOND)),
        ("license-ca.pem", scene.server.run("cat", FOLDER / "keys/tls-ca.crt")),
    ):
        balancer.run("tee", f"/etc/haproxy/{name}", given=content.encode())
    balancer.run("systemctl", "restart", "haproxy.service")
    scene.server.run("ip", "address", "delete", f"{SERVICE}/24", "dev", "host0")
    take_address(balancer)
    before = renew_lease(box)
    scene.server.run("systemctl", "stop", "sealwright-license.socket", *PROCESSES)
    assert renew_lease(box) == before + 1
    scene.server.run("systemctl", "start", "sealwright-license.socket", *PROCESSES)
    upgrade_both(scene, second)
    second.power_off()
    assert renew_lease(box) == before + 2
    balancer.power_off()


def upgrade_both(scene: Scene, second: DebianServer) -> None:
    """From an older schema: by the database's host, if somebody says that it is meant; the other one is stopped."""
    older = downgrade(scene.server)
    for host, reason in (("license-2", "Deploy license-1 first"), ("license-1", "license_server_upgrade=true")):
        done = scene.fleet.try_to_run("deploy-license-server", f"--limit={host}")
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    assert schema(scene.server) == older
    before = scene.server.run("ls", BACKUPS).split()
    scene.fleet.run("deploy-license-server", "--limit=license-1", license_server_upgrade=True)
    assert len(scene.server.run("ls", BACKUPS).split()) == len(before) + 1
    assert schema(scene.server) == newest_revision()
    assert {second.run("systemctl", "is-active", unit, check=False).strip() for unit in PROCESSES} == {"inactive"}
    scene.fleet.run("deploy-license-server", "--limit=license-2")
    assert {second.run("systemctl", "is-active", unit).strip() for unit in PROCESSES} == {"active"}


def downgrade(server: DebianServer) -> str:
    """Take the database one schema back; returns that one."""
    (*_, older) = sorted(path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py") if path.name[:4] != newest_revision())
    server.run("sealwright-license", "database", "downgrade", FOLDER, "--to", older, user=USER)
    return older


def documented_balancer(*addresses: str) -> str:
    """HAProxy's configuration as the guide has it, but for the addresses."""
    block = re.search(r"```haproxy\n(.*?)```", (DOCS / "licence-server.md").read_text(), re.DOTALL)
    assert block is not None
    shown = block.group(1)
    for documented, address in zip(("192.0.2.11", "192.0.2.12"), addresses, strict=True):
        assert documented in shown
        shown = shown.replace(documented, address)
    return shown


# --- restoring --------------------------------------------------------------------------------------------------------


def test_a_service_is_not_overwritten(scene: Scene) -> None:
    """Restoring is for new hosts."""
    done = scene.fleet.try_to_run("restore-license-server", "--limit=license-1", **scene.restored("keys", "database"))
    assert (done.returncode, "is not overwritten" in done.stderr) == (1, True), done.stderr


def test_a_restore_without_the_keys_is_refused(scene: Scene) -> None:
    """Before anything is done to the host."""
    scene.server.power_off()
    scene.server = scene.add("license-3", NEW)
    done = scene.fleet.try_to_run("restore-license-server", "--limit=license-3", **scene.restored("database"))
    assert (done.returncode, "license_server_restore_keys: " in done.stderr) == (2, True), done.stderr
    assert scene.server.run("ls", "/opt", "/var/lib/sealwright", check=False) == "/opt:\n"


def test_a_restore_that_fails_can_be_repeated(scene: Scene) -> None:
    """Here something lies in the way of the keys."""
    obstacle = FOLDER / "keys/keyring.json"
    scene.server.run("mkdir", "--parents", obstacle / "full")
    done = scene.fleet.try_to_run("restore-license-server", "--limit=license-3", **scene.restored("keys", "database"))
    assert (done.returncode, "Restore the keys" in done.stderr) == (1, True), done.stderr
    scene.server.run("rm", "--recursive", obstacle)
    # What a run has left that was cut off one step later.
    scene.server.run("psql", "--dbname=sealwright", "--command=CREATE TABLE devices (device_id text)", user=USER)


def test_a_lost_host_is_restored_on_a_new_one(scene: Scene, box: SimulatedBox) -> None:
    """A second run changes nothing, and the log that was restored is whole."""
    scene.fleet.run("restore-license-server", "--limit=license-3", **scene.restored("keys", "database"))
    assert scene.fleet.run("deploy-license-server", "--limit=license-3") == {"license-3": 0}
    scene.server.run("sealwright-license", "audit", "verify", FOLDER, user=USER)
    assert scene.server.run("sh", "-c", "ls -d /dev/shm/sealwright-*", check=False) == ""
    take_address(scene.server)


def test_a_box_that_is_ahead_of_the_backup_goes_on(scene: Scene, box: SimulatedBox) -> None:
    """It has renewed three times since."""
    before = lease_number(box)
    assert renew_lease(box) == before + 1


def test_what_was_decided_since_the_backup_is_gone(scene: Scene) -> None:
    """A licence that was suspended is active, and a checkpoint that was kept proves that the log is another."""
    shown = scene.server.run("sealwright-license", "license", "show", FOLDER, scene.suspended, "--json", user=USER)
    assert json.loads(shown)["status"] == "active"
    kept = scene.server.copy(scene.checkpoint)
    told = scene.server.run(
        "sealwright-license", "audit", "verify", FOLDER, "--checkpoint", kept, "--json", user=USER, check=False
    )
    (finding,) = json.loads(told)["findings"]
    assert finding["place"] == str(kept), finding
