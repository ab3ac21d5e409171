"""A licence service of a test's own, with limits of the test's choice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from sealwright_testing.license_server import LicenseServer, running_service, set_limits
from sealwright_testing.license_world import LicenseWorld


@contextlib.contextmanager
def limited(folder: Path, **limits: float) -> Iterator[tuple[LicenseWorld, LicenseServer]]:
    """A service of its own with other limits."""
    made = LicenseWorld.create(folder / "service", now=int(time.time()))
    set_limits(made.folder, **limits)
    with running_service(made.folder) as running:
        yield made, running
    made.store.close()
