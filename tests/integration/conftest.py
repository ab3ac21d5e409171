"""What all of them have in common."""

from __future__ import annotations

import os

import pytest

from sealwright_testing.own_mounts import take_own_mounts


@pytest.fixture(scope="session", autouse=True)
def _own_mounts() -> None:
    """Where they mount at all, which root alone does."""
    if os.geteuid() == 0:
        take_own_mounts()
