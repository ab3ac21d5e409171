"""A vendor whose licence service stands on a server that Ansible has set up: its operator's commands are run there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sealwright_testing.debian_server import DebianServer
from sealwright_testing.simulated_box import SimulatedVendor

FOLDER = Path("/var/lib/sealwright/license")
USER = "sealwright"


@dataclass
class DeployedVendor(SimulatedVendor):
    """A simulated vendor, but for where the service is."""

    server: DebianServer = field(kw_only=True)

    def make_service(self) -> None:
        """Nothing to make; take the file for builds."""
        self.license_directory.mkdir(parents=True)
        self.service_file.write_text(self.server.run("cat", FOLDER / self.service_file.name))

    def command(self, *arguments: str | Path) -> str:
        """Run ``sealwright-license`` on the server; files that it is given are copied there."""
        there = [self._there(one) if isinstance(one, Path) else one for one in arguments]
        return self.server.run("sealwright-license", *there, user=USER)

    def _there(self, path: Path) -> Path:
        return FOLDER if path == self.license_directory else self.server.copy(path)
