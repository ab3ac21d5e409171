"""``sealwright-fleet`` as an operator runs it, against servers of a test's network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealwright_testing.debian_server import ADMINISTRATOR, DebianServer, ssh_options
from sealwright_testing.tools_root import TOOLCHAIN

PORT = 8444
COMMAND = Path(sys.executable).parent / "sealwright-fleet"
Outcome = dict[str, int]
"""By host, how many tasks have changed something, or would."""


@dataclass(frozen=True)
class BackupIdentity:
    """An age identity, which never leaves the operator's machine."""

    file: Path
    recipient: str

    @classmethod
    def create(cls, file: Path) -> BackupIdentity:
        """Make one."""
        subprocess.run(["age-keygen", "--output", file], capture_output=True, check=True)
        shown = subprocess.run(["age-keygen", "-y", file], capture_output=True, text=True, check=True)
        return cls(file, shown.stdout.strip())

    def opens(self, archive: Path) -> bool:
        """Whether it opens an archive."""
        argv = ["age", "--decrypt", "--identity", str(self.file), "--output", "/dev/null", str(archive)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@dataclass
class Fleet:
    """An inventory, and the command that works on it."""

    folder: Path
    settings: dict[str, Any]
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, server: DebianServer, **settings: Any) -> None:
        """Put a server into the inventory."""
        self.hosts[server.name] = {"ansible_host": server.address, **settings}

    def run(self, playbook: str, *options: str, without: Sequence[str] = (), **settings: Any) -> Outcome:
        """Run a playbook that must succeed.

        Args:
            playbook: its name.
            options: of the command.
            without: settings of the inventory to leave out.
            settings: others than the inventory's.
        """
        done = self.try_to_run(playbook, "--json", *options, without=without, **settings)
        assert done.returncode == 0, done.stderr
        return {host: of["changed"] for host, of in json.loads(done.stdout)["hosts"].items()}

    def try_to_run(
        self, playbook: str, *options: str, without: Sequence[str] = (), **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook, whatever comes of it; arguments as of :meth:`run`."""
        variables = {name: value for name, value in (self.settings | settings).items() if name not in without}
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"license_servers": {"hosts": self.hosts, "vars": variables}}))
        argv = [str(COMMAND), "run", playbook, "-i", str(inventory), *options]
        return subprocess.run(argv, capture_output=True, text=True, check=False)


def packages() -> Path:
    """The archive that a release of the service comes in."""
    printed = subprocess.run(
        [TOOLCHAIN / "python-environment", "--server"], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(printed.stdout.strip())


def common_settings(folder: Path, url: str) -> dict[str, Any]:
    """What every inventory of a test says."""
    return {
        "ansible_user": ADMINISTRATOR,
        "ansible_ssh_common_args": " ".join(ssh_options(folder)),
        "ansible_control_path_dir": str(folder / "connections"),  # servers of other networks have these addresses too
        "license_server_url": url,
        "license_server_service_id": "service-1",
        "license_server_packages": str(packages()),
    }
