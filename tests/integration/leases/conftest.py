"""A box that is activated and off, in compressed time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_testing.leases.scene import Scene
from sealwright_testing.swtpm import SoftwareTpm


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Not to be used: tests copy it."""
    directory = tmp_path_factory.mktemp("leases")
    return Scene.create(directory / "scene", SoftwareTpm.manufacture(directory / "factory"))


@pytest.fixture
def scene(template: Scene, tmp_path: Path) -> Iterator[Scene]:
    """A box of this test's own."""
    copy = template.copy(tmp_path / "scene")
    yield copy
    copy.close()
