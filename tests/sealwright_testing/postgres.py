"""A real PostgreSQL for tests: a cluster in a temporary folder, reached by its socket, with many databases."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

SUPERUSER = "sealwright"
SERVICE_USER = "postgres"
"""Whom the server runs as if the tests run as root, whom PostgreSQL refuses."""
PORT = 5432
"""Names the socket; nothing listens on the network."""
TIMEOUT_S = 60
_UNSYNCED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class PostgresServer:
    """A running server."""

    folder: Path
    programs: Path

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={quote(str(self.folder), safe='')}&port={PORT}"

    def create_database(self, template: str | None = None) -> str:
        """Make a database; returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement on the cluster."""
        with psycopg.connect(
            host=str(self.folder), port=PORT, user=SUPERUSER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def restart(self) -> None:
        """Stop at once, breaking every connection, and start again."""
        self.stop("immediate")
        self.start()

    def start(self) -> None:
        """Start, and wait until connections are taken."""
        self._control("start", "--log", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop."""
        self._control("stop", "--mode", mode)

    def _control(self, *arguments: str) -> None:
        _run(self.folder, [str(self.programs / "pg_ctl"), "--pgdata", str(self.folder / "data"), "--wait",
                           "--timeout", str(TIMEOUT_S), "--silent", *arguments])  # fmt: skip


@contextmanager
def running_postgres(*, synced: bool = False) -> Iterator[PostgresServer]:
    """Run a server until the block ends.

    Args:
        synced: whether commits reach the disk before they are acknowledged, as in production.
    """
    # Of its own, directly in the temporary folder: a socket's path has at most 107 bytes, and the server's user must
    # be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="sealwright-postgres-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(SERVICE_USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        server = PostgresServer(folder, _programs())
        _run(folder, [str(server.programs / "initdb"), "--pgdata", str(folder / "data"), "--username", SUPERUSER,
                      "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"])  # fmt: skip
        settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "port": str(PORT),
                    "max_connections": "200", "shared_buffers": "64MB"} | ({} if synced else _UNSYNCED)  # fmt: skip
        with (folder / "data/postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Debian keeps them outside PATH, in a folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name))
    if found:
        return found[-1].parent
    which = shutil.which("initdb")
    if which is None:
        raise RuntimeError("PostgreSQL is not installed; run `make host`.")
    return Path(which).resolve().parent


def _run(folder: Path, argv: list[str]) -> None:
    prefix = ["setpriv", f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}", "--clear-groups"]
    command = [*prefix, *argv] if os.geteuid() == 0 else argv
    with (folder / "control.log").open("ab") as output:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed: {(folder / 'control.log').read_text(errors='replace')[-2000:]}")
