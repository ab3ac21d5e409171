"""A licence server on a clean Debian: deployed, deployed again after runs that failed, restarted under load, upgraded.

The tests of this file build on each other, in their order: each takes the server as the one before has left it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing.keyring import KeyRole
from sealwright_licensing.revisions import newest_revision
from sealwright_testing.client_load import CLIENTS, TIMEOUT_S, under_load
from sealwright_testing.debian_server import OPERATOR, DebianServer
from sealwright_testing.deployed_vendor import FOLDER, USER
from sealwright_testing.fleet import PORT, Outcome, packages
from sealwright_testing.fleet_scene import (
    BACKUPS,
    FIRST,
    MONITORING,
    PROCESSES,
    SERVICE,
    STRANGER,
    Scene,
    lease_number,
    processes,
    renew_lease,
    schema,
)
from sealwright_testing.later_release import LATER_REVISION, later_release
from sealwright_testing.simulated_box import SimulatedBox

RELEASE = "/opt/sealwright/current"
EXPOSURE_LIMIT = 2.0
"""Of ten, by systemd-analyze security."""
OPERATORS_PORT, POSTGRESQL_PORT = 8445, 5432
FEW = 2
"""Of thousands of connections; whoever asks on them connects once more."""
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
_NO_NEW_SCHEMA = b"""
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no new schema''; END';
CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse();
"""

pytestmark = pytest.mark.timeout(1200)
"""For each test: a deployment is minutes of processor time where others work too."""


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


def is_open(port: int, *, source: str, address: str = FIRST) -> bool:
    """Whether a connection from one of the test's addresses is taken."""
    try:
        socket.create_connection((address, port), DROPPED_AFTER_S, (source, 0)).close()
    except TimeoutError:
        return False
    return True


def journal(server: DebianServer) -> str:
    """What the service's processes have said lately."""
    return server.run(
        "journalctl", "--no-pager", "--lines=60", "--output=short-precise", *(f"--unit={one}" for one in PROCESSES)
    )


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
    """Every unit runs, none has failed; and it can be backed up before it has any release."""
    assert scene.fleet.run("deploy-license-server")["license-1"] > 0
    for unit in (*PROCESSES, "sealwright-license.socket", "sealwright-license-backup.timer", "nftables.service"):
        assert scene.server.run("systemctl", "is-active", unit).strip() == "active"
        assert scene.server.run("systemctl", "is-enabled", unit).strip() == "enabled"
    scene.server.run("systemctl", "start", "sealwright-license-backup.service")
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
    assert load.failures == [], (load.not_connected, journal(scene.server))
    assert load.answered > CLIENTS * 10
    assert len(load.not_connected) <= FEW, (load.not_connected, journal(scene.server))
    assert numbers == list(range(number + 1, number + 1 + len(numbers)))
    assert len(numbers) > 4


# --- a new release ----------------------------------------------------------------------------------------------------


def test_an_upgrade_that_fails_leaves_what_ran(scene: Scene, box: SimulatedBox) -> None:
    """Schema and release are what they were, every process runs again, and the box renews."""
    scene.fleet.settings["license_server_packages"] = str(later_release(packages(), scene.folder / "later"))
    scene.server.run("psql", "--dbname=sealwright", given=_NO_NEW_SCHEMA, user="postgres")
    before = scene.server.run("readlink", RELEASE), processes(scene)
    done = scene.fleet.try_to_run("deploy-license-server")
    assert (done.returncode, "the release that ran before was started again" in done.stderr) == (1, True), done.stderr
    assert scene.server.run("readlink", RELEASE) == before[0]
    assert not set(before[1]) & set(processes(scene))
    assert schema(scene.server) == newest_revision()
    assert {scene.server.run("systemctl", "is-active", unit).strip() for unit in PROCESSES} == {"active"}
    number = lease_number(box)
    assert renew_lease(box) == number + 1


def test_a_new_release_brings_its_schema(scene: Scene, box: SimulatedBox) -> None:
    """Where the database has the schema of the release that has run before, nobody need say that it is meant."""
    scene.server.run("psql", "--dbname=sealwright", "--command=DROP EVENT TRIGGER refuse", user="postgres")
    before, backups = scene.server.run("readlink", RELEASE), scene.server.run("ls", BACKUPS).split()
    scene.fleet.run("deploy-license-server")
    assert scene.server.run("readlink", RELEASE) != before
    assert schema(scene.server) == LATER_REVISION
    assert len(scene.server.run("ls", BACKUPS).split()) == len(backups) + 1
    number = lease_number(box)
    assert renew_lease(box) == number + 1
