"""Two boots that all attempts from inside share: a box with something planted in it, and the same without defences.

Tests that read them are in one file, so that one worker boots them once (``pytest --dist loadfile``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sealwright_testing.redteam.inside import Inside, boot_disarmed, boot_planted
from sealwright_testing.redteam.report import Report
from sealwright_testing.scene import Scene
from sealwright_testing.vendor import Vendor
from sealwright_testing.world import World


@pytest.fixture(scope="session")
def shared_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """As ``scene``, for what more than one test reads."""
    with ExitStack() as boxes:
        world = World(Path(os.environ["SEALWRIGHT_VM_WORLD"]))
        yield Scene(world, Vendor(Path(os.environ["SEALWRIGHT_VM_RUN"])), tmp_path_factory.mktemp("redteam"), boxes)


@pytest.fixture(scope="session")
def inside(shared_scene: Scene) -> Inside:
    """A box with something planted in it, at the end of all attempts; off."""
    return boot_planted(shared_scene)


@pytest.fixture(scope="session")
def disarmed(shared_scene: Scene) -> Report:
    """The same system, started without its kernel's defences."""
    return boot_disarmed(shared_scene)
