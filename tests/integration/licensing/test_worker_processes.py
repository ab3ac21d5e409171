"""``serve --workers``: one address, several processes; one that dies is replaced, all stop together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_licensing.config import load_config
from sealwright_licensing.server import serve
from sealwright_policies.errors import UsageError
from sealwright_testing.license_server import LicenseServer, running_service
from sealwright_testing.license_world import LicenseWorld

WORKERS = 2
WAIT_S = 60


@pytest.fixture
def server(tmp_path: Path, postgres_url: str) -> Iterator[LicenseServer]:
    """Two workers."""
    world = LicenseWorld.create(tmp_path / "service", now=int(time.time()), database=postgres_url)
    with running_service(world.folder, workers=WORKERS) as running:
        yield running
    world.store.close()


def children(process: int) -> set[int]:
    """Processes that a process has forked, and that run."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return {int(one) for one in found}


def is_running(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def wait_until(what: object) -> None:
    """Poll a condition; the test's own time limit ends a wait in vain."""
    assert callable(what)
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_a_worker_that_dies_is_replaced_and_the_service_answers_on(server: LicenseServer) -> None:
    workers = children(server.process.pid)
    assert len(workers) == WORKERS
    victim = min(workers)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(children(server.process.pid) - {victim}) == WORKERS)
    tls = server.tls
    for _ in range(20):
        with server.client(tls) as client:
            assert client.get("/readyz").status_code == 200
    assert "a worker died and is replaced" in server.log.read_text()
    assert server.stop() == 0


def test_all_workers_end_with_a_graceful_stop(server: LicenseServer) -> None:
    workers = children(server.process.pid)
    with server.client() as client:
        client.get("/readyz").raise_for_status()
    assert server.stop() == 0
    assert not any(is_running(worker) for worker in workers)


def test_workers_do_not_outlive_their_supervisor(server: LicenseServer) -> None:
    workers = children(server.process.pid)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(is_running(worker) for worker in workers))


def test_several_workers_on_sqlite_are_refused(tmp_path: Path) -> None:
    world = LicenseWorld.create(tmp_path / "service")
    with pytest.raises(UsageError, match="PostgreSQL"):
        serve(world.folder, load_config(world.folder), host="127.0.0.1", port=0, workers=2)
    world.store.close()
