"""The service on a listening socket of systemd's: two processes share it, and one that stops loses nobody."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealwright_testing.license_server import STOP_TIMEOUT_S, LicenseServer
from sealwright_testing.license_world import LicenseWorld

HOST = "127.0.0.1"
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUT_S = 60
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())  # which does not change when the process becomes another program
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LicenseWorld]:
    made = LicenseWorld.create(tmp_path_factory.mktemp("service") / "service", now=int(time.time()))
    yield made
    made.store.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """What a socket unit has opened."""
    with socket.create_server((HOST, 0)) as opened:
        opened.setblocking(False)
        yield opened


@contextmanager
def started(world: LicenseWorld, listener: socket.socket, number: int) -> Iterator[LicenseServer]:
    """A process that was started as systemd starts a service of type notify; it has said that it is ready."""
    address = f"{world.folder.path}/notify-{number}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(address)
        notified.settimeout(TIMEOUT_S)
        command = Path(sys.executable).parent / "sealwright-license"
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD, str(listener.fileno()), command, "serve", world.folder.path],
            env=os.environ | {"LISTEN_FDS": "1", "NOTIFY_SOCKET": address},
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert notified.recv(4096) == b"READY=1"
            yield LicenseServer(f"https://{HOST}:{listener.getsockname()[1]}", world.folder, process, Path(os.devnull))
        finally:
            process.kill()
            process.wait()
            Path(address).unlink()


def connect(server: LicenseServer) -> socket.socket:
    """A connection on which TLS has not begun, which the service has had time to accept."""
    connection = socket.create_connection((HOST, server.port), TIMEOUT_S)
    with server.client() as client:  # the queue is served in order
        client.get("/livez").raise_for_status()
    return connection


def secured(server: LicenseServer, connection: socket.socket) -> ssl.SSLSocket:
    """The same with TLS."""
    return server.tls.wrap_socket(connection, server_hostname=HOST)


def answer(connection: ssl.SSLSocket) -> bytes:
    """What comes on a request, to the end of the connection."""
    connection.sendall(REQUEST)
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("has_tls", [True, False])
def test_whoever_was_accepted_is_answered(world: LicenseWorld, listener: socket.socket, has_tls: bool) -> None:
    """Told to stop, the process hears who has asked nothing yet, whether TLS is there or still to begin."""
    with started(world, listener, 0) as server:
        plain = connect(server)
        connection = secured(server, plain) if has_tls else None
        server.process.terminate()
        time.sleep(0.5)
        assert answer(connection or secured(server, plain)).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(STOP_TIMEOUT_S) == 0


def test_who_comes_while_a_process_stops_waits_for_the_next(world: LicenseWorld, listener: socket.socket) -> None:
    """The socket stays open without any process behind it."""
    with started(world, listener, 0) as server:
        assert server.stop() == 0
        waiting = socket.create_connection((HOST, server.port), TIMEOUT_S)
    with started(world, listener, 1) as server, secured(server, waiting) as connection:
        connection.sendall(REQUEST)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_an_idle_connection_does_not_delay_the_stop(world: LicenseWorld, listener: socket.socket) -> None:
    """It has had its answer."""
    with started(world, listener, 0) as server, server.client() as client:
        client.get("/livez").raise_for_status()
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < STOP_TIMEOUT_S
