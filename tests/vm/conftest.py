"""Once per run: the world (image, activated box) from the cache or made, and its licence service on a copy.

The image knows the service by URL, so one process serves all workers. It is started by the process that controls them
and stopped at its end; workers find its folder by ``SEALWRIGHT_VM_RUN``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.scene import Scene
from sealwright_testing.tools_root import ToolsRoot
from sealwright_testing.vendor import Vendor
from sealwright_testing.world import World, prepare

RUN = "SEALWRIGHT_VM_RUN"
WORLD = "SEALWRIGHT_VM_WORLD"
OWNER = "8a6a2ba3-6d5c-4c7d-9b0e-2f0f5ac5d0a1"
MAKE_PAYLOAD = """
set -eu
cd "$1"
for name in PK KEK db; do
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$name.key" -out "$name.pem" -subj "/CN=$name" -days 30
done
sbsign --key db.key --cert db.pem --output boot.efi /usr/lib/systemd/boot/efi/systemd-bootx64.efi
truncate -s 64M disk.raw
printf 'label: gpt\\nstart=2048, size=120000, type=U\\n' | sfdisk -q disk.raw
mkfs.vfat -F 32 --offset 2048 disk.raw 60000
mmd -i disk.raw@@1M ::EFI ::EFI/BOOT
mcopy -i disk.raw@@1M boot.efi ::EFI/BOOT/BOOTX64.EFI
"""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Make world and service, in the controlling process alone."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    world = prepare()
    run = Path(tempfile.mkdtemp(prefix="sealwright-vm-"))
    shutil.copytree(world.vendor.license_directory, run / "license")
    (run / "image").symlink_to(world.vendor.image)
    Vendor(run).start_service()
    os.environ[RUN], os.environ[WORLD] = str(run), str(world.directory)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the service."""
    if hasattr(session.config, "workerinput") or RUN not in os.environ:
        return
    run = Path(os.environ.pop(RUN))
    Vendor(run).stop_service()
    shutil.rmtree(run)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """World, running service, and a folder for this case's boxes."""
    with ExitStack() as boxes:
        yield Scene(World(Path(os.environ[WORLD])), Vendor(Path(os.environ[RUN])), tmp_path, boxes)


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with disk.raw, which boots systemd-boot, and the keys that it is signed under."""
    folder = tmp_path_factory.mktemp("payload")
    ToolsRoot.find().run_inside("bash", "-c", MAKE_PAYLOAD, "bash", folder)
    return folder


@pytest.fixture(scope="session")
def keys(payload: Path) -> SecureBootKeys:
    """The keys that the payload is signed under."""
    return SecureBootKeys(payload / "PK.pem", payload / "KEK.pem", payload / "db.pem", OWNER)
