"""A release of the licence service after this one: the same, with one more migration."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

from sealwright_licensing.revisions import newest_revision

LATER_REVISION = f"{int(newest_revision()) + 1:04}"
_MIGRATION = f"""
from alembic import op

revision = "{LATER_REVISION}"
down_revision = "{newest_revision()}"


def upgrade():
    comment("'of a later release'")


def downgrade():
    comment("NULL")


def comment(text):  # SQLite, on which the service looks at what migrations make, has none
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"COMMENT ON TABLE devices IS {{text}}")
"""


def later_release(archive: Path, folder: Path) -> Path:
    """Make its archive of packages from this release's; returns the path.

    Args:
        archive: as ``make license-server`` makes it.
        folder: a new one.
    """
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", wheels], check=True)
    (wheel,) = wheels.glob("sealwright_licensing-*.whl")
    before = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with zipfile.ZipFile(wheel, "a") as content:
        content.writestr(f"sealwright_licensing/migrations/versions/{LATER_REVISION}_later.py", _MIGRATION)
    wanted = wheels / "requirements.txt"
    wanted.write_text(wanted.read_text().replace(before, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    made = folder / "later.tar"
    subprocess.run(["tar", "--create", "--file", made, "--directory", wheels, "."], check=True)
    return made
