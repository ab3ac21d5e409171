"""Which tests are left out, on which database those of the licence service run, and where pictures are kept."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from sealwright_testing.corpus import corpus_is_named

# The box's Python has no SQLAlchemy, and its tests need no database.
pytest_plugins = ["sealwright_testing.databases"] if find_spec("sqlalchemy") else []


# A test must not fail for a slow machine.
settings.register_profile("sealwright", deadline=None)
settings.load_profile("sealwright")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of the corpus where none is named: a skip would look as if something of ours were missing."""
    if corpus_is_named():
        return
    left_out = [item for item in items if item.get_closest_marker("corpus")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Kept for people to look at."""
    folder = Path(__file__).parents[1] / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
