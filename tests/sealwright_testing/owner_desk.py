"""An owner of data beside a vendor: a key of his own, and the commands by which he signs domains and workloads."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealwright_image.cli import main
from sealwright_policies.wire.envelope import public_der


@dataclass(frozen=True, slots=True)
class OwnerDesk:
    """A folder of the owner's, which no build reads."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> OwnerDesk:
        """With a new key."""
        folder.mkdir()
        desk = cls(folder)
        _run("keygen-owner", desk.key)
        return desk

    @property
    def key(self) -> Path:
        return self.folder / "owner.key"

    def sign(self, domain: Path) -> None:
        """Name the key in a domain, and sign it."""
        public = load_pem_private_key(self.key.read_bytes(), None).public_key()
        text = base64.b64encode(public_der(public)).decode("ascii")  # type: ignore[arg-type]
        before = domain.read_text()
        assert before.count("[owner]\n") == 1
        domain.write_text(before.replace("[owner]\n", f'[owner]\nkey = "{text}"\n'))
        _run("sign-domain", domain, "--owner-key", self.key, "--yes")

    def sign_workload(self, domain: Path, name: str, folder: Path, image: Path) -> None:
        """Pack a workload, and sign that its image may run on what lies in a domain."""
        _run("pack-workload", folder, "--output", image)
        _run("sign-workload", domain, name, "--image", image, "--owner-key", self.key, "--yes")


def _run(*arguments: str | Path) -> None:
    assert main([*map(str, arguments)]) == 0
