"""A licence server of a fleet, with what its tests share: addresses, backups, a box that renews."""

from __future__ import annotations

import json
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_testing.debian_server import DebianServer, ServerNetwork
from sealwright_testing.deployed_vendor import FOLDER, USER
from sealwright_testing.fleet import BackupIdentity, Fleet
from sealwright_testing.simulated_box import SimulatedBox

SERVICE = "10.77.0.10"
"""The address in the URL, which goes from one host to the next."""
FIRST, SECOND = "10.77.0.11", "10.77.0.12"
"""Hosts' own addresses: of the one that has the database, and of one that may share it."""
MONITORING, STRANGER = "10.77.0.2", "10.77.0.3"
"""Further addresses of the test process."""
BACKUPS = Path("/var/backups/sealwright/database")
PROCESSES = ("sealwright-license@1.service", "sealwright-license@2.service", "sealwright-license-operators.service")


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


def processes(scene: Scene) -> list[str]:
    """The main processes' numbers."""
    return scene.server.run("systemctl", "show", "--property=MainPID", "--value", *PROCESSES).split()


def lease_number(box: SimulatedBox) -> int:
    """Of the box's newest lease."""
    return max(lease.number for lease in box.store.load_leases())


def schema(server: DebianServer) -> str:
    """The database's."""
    found = json.loads(server.run("sealwright-license", "database", "status", FOLDER, "--json", user=USER))
    return str(found["schema"])
