"""A folder whose path is short enough for a UNIX socket."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket name (108 bytes)."""
    return tmp_path_factory.mktemp("s")
