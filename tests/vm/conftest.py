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

from sealwright_testing.scene import Scene
from sealwright_testing.vendor import Vendor
from sealwright_testing.world import World, prepare

RUN = "SEALWRIGHT_VM_RUN"
WORLD = "SEALWRIGHT_VM_WORLD"


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
