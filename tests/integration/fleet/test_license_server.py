"""A licence server on a clean Debian: deployed, restarted under load, backed up, doubled, and restored on a new host.

The tests of this file build on each other, in their order: each takes the servers as the one before has left them.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing import migrations
from sealwright_licensing.keyring import KeyRole
from sealwright_licensing.schema import newest_revision
from sealwright_testing.client_load import CLIENTS, TIMEOUT_S, under_load
from sealwright_testing.debian_server import OPERATOR, DebianServer, ServerNetwork, server_network
from sealwright_testing.deployed_vendor import FOLDER, USER, DeployedVendor
from sealwright_testing.fleet import PORT, BackupIdentity, Fleet, Outcome, common_settings
from sealwright_testing.simulated_box import SimulatedBox, new_enrolled_box

DOCS = Path(__file__).resolve().parents[3] / "docs"
MIGRATIONS = Path(migrations.__path__[0]) / "versions"
BACKUPS = Path("/var/backups/sealwright/database")
SERVICE = "10.77.0.10"
"""The address in the URL, which goes from one host to the next."""
FIRST, SECOND, BALANCER, NEW = "10.77.0.11", "10.77.0.12", "10.77.0.13", "10.77.0.14"
MONITORING, STRANGER = "10.77.0.2", "10.77.0.3"
"""Further addresses of the test process."""
EXPOSURE_LIMIT = 2.0
"""Of ten, by systemd-analyze security."""
PROCESSES = ("sealwright-license@1.service", "sealwright-license@2.service", "sealwright-license-operators.service")
OPERATORS_PORT, POSTGRESQL_PORT = 8445, 5432
DROPPED_AFTER_S = 1.0
"""A SYN on this network is answered in milliseconds, or not at all."""
_ASK = f"""
import http.client, ssl, sys
trusted = ssl.create_default_context(cafile="{FOLDER}/keys/tls-ca.crt")
trusted.check_hostname = False
asked = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=trusted, timeout={TIMEOUT_S})
asked.request("GET", sys.argv[2])
print(asked.getresponse().status)
"""
"""Asks a server of the service from its own host: the path, on the port."""
_EARLIER = """#!/bin/sh
echo '{"schema": "%s", "wanted": "%s"}'
"""
"""All that a deployment asks of the release that has run before."""

pytestmark = pytest.mark.timeout(1200)
"""For each test: a deployment is minutes of processor time where others work too."""


@dataclass
class Scene:
    """What the tests share."""

    folder: Path
    network: ServerNetwork
    fleet: Fleet
    server: DebianServer
    identities: dict[str, BackupIdentity]
    archives: dict[str, Path] = field(default_factory=dict)
    """The backup that a test has made, by what is in it."""
    suspended: str = ""
    """A licence that has been suspended since."""

    def add(self, name: str, address: str, **settings: str) -> DebianServer:
        """Another clean server, and in the inventory."""
        server = self.network.boot(name, address)
        self.fleet.add(server, **settings)
        return server

    def restored(self, *parts: str) -> dict[str, str]:
        """The settings that name archives and what opens them."""
        named: dict[str, str] = {}
        for part in parts:
            named[f"license_server_restore_{part}"] = str(self.archives[part])
            named[f"license_server_restore_{part}_identity"] = str(self.identities[part].file)
        return named

    @property
    def checkpoint(self) -> Path:
        """A checkpoint of the log that was taken after the backup."""
        return self.folder / "checkpoint.txt"

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts the service's authority alone."""
        return ssl.create_default_context(cadata=self.server.run("cat", FOLDER / "keys/tls-ca.crt"))


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
def box(scene: Scene) -> Iterator[SimulatedBox]:
    """A box with a software TPM, enrolled with the deployed service."""
    vendor = DeployedVendor(scene.folder / "vendor", server=scene.server)
    made = new_enrolled_box(vendor, scene.folder / "box")
    yield made
    made.tpm.kill()


def take_address(server: DebianServer) -> None:
    """Have a server answer at the service's address."""
    server.run("ip", "address", "add", f"{SERVICE}/24", "dev", "host0")
    subprocess.run(["ip", "neighbour", "flush", "dev", "lan"], check=True)


def renew_lease(box: SimulatedBox) -> int:
    """Have a box renew; returns the number of the new lease."""
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        lease = renew(renewal, tpm)
    assert lease is not None
    return lease.number


def renew_until(running: Future[Outcome], box: SimulatedBox) -> Iterator[int]:
    """Renew one time after the other, by a connection that is kept and by new ones in turn; the new leases' numbers."""
    with box.renewal() as kept, open_provisioned_tpm(box.paths.tcti) as tpm:
        while not running.done():
            with box.renewal() as anew:
                for renewal in (kept, anew):
                    assert renewal.client.nonce(renewal.identity.device_id).nonce
                    lease = renew(renewal, tpm)
                    assert lease is not None
                    yield lease.number


def processes(scene: Scene) -> list[str]:
    """The main processes' numbers."""
    return scene.server.run("systemctl", "show", "--property=MainPID", "--value", *PROCESSES).split()


def lease_number(box: SimulatedBox) -> int:
    """Of the box's newest lease."""
    return max(lease.number for lease in box.store.load_leases())


def is_open(port: int, *, source: str, address: str = FIRST) -> bool:
    """Whether a connection from one of the test's addresses is taken."""
    try:
        socket.create_connection((address, port), DROPPED_AFTER_S, (source, 0)).close()
    except TimeoutError:
        return False
    return True


# --- deploying --------------------------------------------------------------------------------------------------------


def test_a_missing_setting_is_named(scene: Scene) -> None:
    """By the argument specification, before anything is done."""
    done = scene.fleet.try_to_run("deploy-license-server", without=["license_server_url"])
    assert (done.returncode, "license_server_url" in done.stderr) == (2, True), done.stderr


def test_one_recipient_for_both_backups_is_refused(scene: Scene) -> None:
    """Whoever opens both has the models."""
    one = scene.identities["keys"].recipient
    done = scene.fleet.try_to_run("deploy-license-server", license_server_backup_database_recipient=one)
    assert (done.returncode, "license_server_backup_keys_recipient: " in done.stderr) == (2, True), done.stderr


def test_check_mode_on_a_fresh_host_changes_nothing(scene: Scene) -> None:
    """It says what it would do, and neither packages nor files come of it."""
    assert scene.fleet.run("deploy-license-server", "--check")["license-1"] > 0
    assert scene.server.run("ls", "/opt", "/var/lib/sealwright", check=False) == "/opt:\n"


def test_the_first_run_deploys(scene: Scene) -> None:
    """Every unit runs, none has failed."""
    assert scene.fleet.run("deploy-license-server")["license-1"] > 0
    for unit in (*PROCESSES, "sealwright-license.socket", "sealwright-license-backup.timer", "nftables.service"):
        assert scene.server.run("systemctl", "is-active", unit).strip() == "active"
        assert scene.server.run("systemctl", "is-enabled", unit).strip() == "enabled"
    assert scene.server.run("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


def test_a_second_run_changes_nothing(scene: Scene) -> None:
    assert scene.fleet.run("deploy-license-server") == {"license-1": 0}


def test_units_are_hardened(scene: Scene) -> None:
    """systemd's own measure, which fails above the limit."""
    for unit in (*PROCESSES, "sealwright-license-operators-keys.service", "sealwright-license-backup.service"):
        scene.server.run("systemd-analyze", "security", f"--threshold={EXPOSURE_LIMIT * 10:.0f}", "--no-pager", unit)


def test_the_firewall_lets_in_who_is_named(scene: Scene) -> None:
    """Everybody reaches the boxes' port, managers SSH, monitoring the figures; PostgreSQL only its clients."""
    figures, postgresql, ssh = (9464, 9465, 9100, 9187), 5432, 22
    assert is_open(PORT, source=STRANGER)
    assert is_open(ssh, source=OPERATOR)
    assert all(is_open(port, source=MONITORING) for port in figures)
    for source, ports in (
        (STRANGER, (ssh, *figures, postgresql)),
        (OPERATOR, figures),
        (MONITORING, (ssh, postgresql)),
    ):
        assert not [port for port in ports if is_open(port, source=source)], source


def test_figures_are_shown(scene: Scene) -> None:
    """Of each process, of the host and of PostgreSQL."""
    transport = httpx.HTTPTransport(local_address=MONITORING)
    with httpx.Client(transport=transport, timeout=TIMEOUT_S) as client:
        for port, figure in (
            (9464, "sealwright_license_requests_running"), (9465, "sealwright_license_requests_running"),
            (9100, "node_load1"), (9187, "pg_up 1"),
        ):  # fmt: skip
            assert figure in client.get(f"http://{FIRST}:{port}/metrics").text


def test_a_box_enrols_and_renews(box: SimulatedBox) -> None:
    """With a software TPM, over the network, with the service's own authority."""
    before = lease_number(box)
    assert renew_lease(box) == before + 1


def test_the_operators_process_has_no_key_but_that_of_tls(scene: Scene, box: SimulatedBox) -> None:
    """Also after each key was rotated; its API answers with the new one, and boxes on an earlier image go on."""
    for role in KeyRole:
        scene.server.run("sealwright-license", "keys", "rotate", FOLDER, role.value, user=USER)
    scene.server.run("systemctl", "restart", *PROCESSES)
    process = scene.server.run("systemctl", "show", "--property=MainPID", "--value", PROCESSES[2]).strip()
    shown = scene.server.run("nsenter", "--target", process, "--mount", "find", FOLDER, "-type", "f", "-printf", "%P\n")
    seen = {name for name in shown.split() if not re.search(r"\.crt$|^keys/service-files/[0-9a-f]{64}\.json$", name)}
    (tls_key,) = seen - {"config.toml", "keys/keyring.json"}
    assert re.fullmatch(r"keys/tls-server-\d+\.pem", tls_key)
    assert "401" in scene.server.run("python3", "-c", _ASK, "8445", "/api/v1/licenses")
    before = lease_number(box)
    assert renew_lease(box) == before + 1


# --- a run that fails -------------------------------------------------------------------------------------------------


def test_what_a_failed_run_has_written_is_in_force(scene: Scene) -> None:
    """Rules and settings are taken up, whatever fails behind them; the run that follows has nothing left to do."""
    changed: dict[str, Any] = {
        "license_server_limits": {"requests_per_minute": 99_999},
        "license_server_operators_networks": [STRANGER],
    }
    before = processes(scene)
    scene.server.run("systemctl", "mask", "prometheus-node-exporter.service")
    done = scene.fleet.try_to_run("deploy-license-server", **changed)
    assert (done.returncode, "Run the exporters" in done.stderr) == (1, True), done.stderr
    assert not set(before) & set(processes(scene))
    assert is_open(OPERATORS_PORT, source=STRANGER)
    scene.server.run("systemctl", "unmask", "prometheus-node-exporter.service")
    assert scene.fleet.run("deploy-license-server", **changed) == {"license-1": 0}


def test_rules_that_are_not_loaded_are_loaded(scene: Scene) -> None:
    """What an earlier run has left in the kernel does not stay; the settings are those of the inventory again."""
    scene.server.run("nft", "add", "rule", "inet", "filter", "input", "tcp", "dport", "5432", "accept")
    assert is_open(POSTGRESQL_PORT, source=STRANGER)
    assert scene.fleet.run("deploy-license-server")["license-1"] > 0
    assert not is_open(POSTGRESQL_PORT, source=STRANGER)
    assert not is_open(OPERATORS_PORT, source=STRANGER)


# --- restarting -------------------------------------------------------------------------------------------------------


def test_a_rolling_restart_loses_no_request(scene: Scene, box: SimulatedBox) -> None:
    """Every process is another afterwards; whoever connected meanwhile has an answer, and each renewal its lease."""
    before, number = processes(scene), lease_number(box)
    with under_load(f"https://{SERVICE}:{PORT}/readyz", scene.tls) as load, ThreadPoolExecutor(1) as pool:
        restarting = pool.submit(scene.fleet.run, "restart-license-server")
        numbers = list(renew_until(restarting, box))
        assert restarting.result() == {"license-1": len(PROCESSES)}
    assert not set(before) & set(processes(scene))
    assert load.failures == []
    assert load.answered > CLIENTS * 10
    assert numbers == list(range(number + 1, number + 1 + len(numbers)))
    assert len(numbers) > 4


# --- backup and restore -----------------------------------------------------------------------------------------------


def test_a_backup_is_two_archives_for_two_people(scene: Scene, box: SimulatedBox) -> None:
    """Each opens with its own identity alone; the copies lie in folders of their own."""
    assert lease_number(box) > 1
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


def schema(server: DebianServer) -> str:
    """The database's."""
    found = json.loads(server.run("sealwright-license", "database", "status", FOLDER, "--json", user=USER))
    return str(found["schema"])


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
    scene.server.run("psql", "--dbname=sealwright", "--command=CREATE TABLE device (id text)", user=USER)


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


def test_a_new_release_brings_its_schema(scene: Scene, box: SimulatedBox) -> None:
    """Where the database has the schema of the release that has run before, nobody need say that it is meant."""
    older = downgrade(scene.server)
    earlier = Path("/opt/sealwright/earlier/bin/sealwright-license")
    scene.server.run("install", "-D", "--mode=755", "/dev/stdin", earlier, given=(_EARLIER % (older, older)).encode())
    scene.server.run("ln", "--symbolic", "--force", "--no-dereference", earlier.parents[1], "/opt/sealwright/current")
    scene.fleet.run("deploy-license-server", "--limit=license-3")
    assert schema(scene.server) == newest_revision()
    before = lease_number(box)
    assert renew_lease(box) == before + 1
