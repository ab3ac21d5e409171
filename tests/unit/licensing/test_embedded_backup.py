"""A copy of the embedded database, taken while it is in use, put back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_policies.errors import RejectionCode
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import LicenseWorld


def copied(source: Path, target: Path) -> None:
    """As ``.backup`` of the sqlite3 shell does."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def test_a_box_that_renewed_after_the_backup_renews_after_the_restore(tmp_path: Path) -> None:
    """Not by its lease's nonce, which is forgotten, and so not by file; with one that it asks for it does."""
    world = LicenseWorld.create(tmp_path / "service", database=DEFAULT_DATABASE)
    box = EnrolledDevice.enroll(world)
    live, copy = world.folder.path / "service.db", tmp_path / "copy.db"
    copied(live, copy)
    box.pass_time(DAY)
    box.renew()
    world.store.engine.dispose()
    for beside in ("-wal", "-shm"):
        live.with_name(live.name + beside).unlink(missing_ok=True)
    live.write_bytes(copy.read_bytes())
    assert box.stored().revision == 0, "the service has forgotten the renewal"

    denied(RejectionCode.NONCE_INVALID, box.ask)
    box.ask(box.nonce())
    assert box.stored().revision == 1
    world.store.close()
