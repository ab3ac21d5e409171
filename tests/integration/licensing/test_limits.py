"""What one client may take of the service: requests, places, time; slow and endless ones do not stop the others."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.license_server import BoxClient, DeniedError, LicenseServer, running_service, set_limits
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.limited_service import limited

HEALTH = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[LicenseWorld, LicenseServer]]:
    """A service with tight limits."""
    with limited(tmp_path, requests_per_minute=40, failed_codes_per_hour=3, headers_s=2, body_s=0.5) as made:
        yield made


def test_limits_of_an_address(small: tuple[LicenseWorld, LicenseServer]) -> None:
    """Wrong codes first: after three even a right one waits. Then requests of any kind."""
    world, server = small
    _, (code,) = world.issue()
    device = world.device(0)
    with server.client() as http:
        client = BoxClient(http)
        seen = []
        for _ in range(4):
            with pytest.raises(DeniedError) as caught:
                client.challenge(device.request("00000-00000-00000-00000"))
            seen.append(caught.value.problem.code)
        assert seen == ["ACTIVATION_CODE_INVALID"] * 3 + ["RATE_LIMITED"]
        with pytest.raises(DeniedError) as caught:
            client.challenge(device.request(code))
        assert (caught.value.problem.status, caught.value.problem.code) == (429, "RATE_LIMITED")
        codes = {http.get("/livez").status_code for _ in range(60)}
        assert codes == {200, 429}


@contextlib.contextmanager
def connected(server: LicenseServer, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A TLS connection from an address of loopback, with a time limit for the test's own sake."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=60, source_address=(source, 0)) as raw,
        server.tls.wrap_socket(raw, server_hostname="127.0.0.1") as spoken,
    ):
        yield spoken


def answer(spoken: ssl.SSLSocket, request: bytes) -> bytes:
    """Send a request; the status line of its answer, whose body is read away."""
    spoken.sendall(request)
    head, _, body = spoken.recv(4096).partition(b"\r\n\r\n")
    assert body or spoken.recv(4096)
    return head.split(b"\r\n", 1)[0]


def _reset(spoken: ssl.SSLSocket) -> select.poll:
    """Tells when the other side has gone."""
    poll = select.poll()
    poll.register(spoken, 0)
    return poll


def _requests(server: LicenseServer) -> int:
    """How many requests have ended."""
    return server.log.read_text().count('"event":"request"')


def test_silent_and_slow_clients_are_cut_off(small: tuple[LicenseWorld, LicenseServer]) -> None:
    _, server = small
    with connected(server) as silent:
        assert silent.recv(1) == b""
    with connected(server) as slow:
        assert b" 408 " in answer(slow, b"POST /v1/nonces HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")


def test_a_later_request_has_a_deadline_too(small: tuple[LicenseWorld, LicenseServer]) -> None:
    """One good request, then half a header, also when a byte more comes now and then."""
    _, server = small
    with connected(server) as kept:
        assert b" 200 " in answer(kept, HEALTH)
        kept.sendall(HEALTH[:-2])
        assert kept.recv(1) == b""
    with connected(server) as dripping:
        assert b" 200 " in answer(dripping, HEALTH)
        reset = _reset(dripping)
        for _ in range(300):
            with contextlib.suppress(OSError):
                dripping.sendall(b"x")
            if reset.poll(100):
                return
        pytest.fail("the connection is still there")


def test_a_connection_without_tls_is_given_up(small: tuple[LicenseWorld, LicenseServer]) -> None:
    _, server = small
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as mute:
        assert mute.recv(1) == b""


def test_requests_are_not_stored_up(small: tuple[LicenseWorld, LicenseServer]) -> None:
    _, server = small
    with connected(server) as hasty:
        hasty.sendall(2 * HEALTH)
        assert hasty.recv(1) == b""


def test_an_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    """Request after request until every buffer on the way is full of answers; then one is not waited for."""

    with limited(tmp_path, requests_per_minute=100_000, body_s=0.5) as (_, server), connected(server) as deaf:
        reset, answered = _reset(deaf), 0
        while not reset.poll(0):
            deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            limit = time.monotonic() + 30
            while _requests(server) == answered and not reset.poll(5):
                assert time.monotonic() < limit, f"answer {answered} is still waited for"
            answered += 1


def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    """Eight are open, one of them without TLS: the ninth is closed, another address is served; and this one, later."""
    limits = {"connections": 12, "connections_per_address": 8, "headers_s": 120}
    with limited(tmp_path, **limits) as (_, server):
        with contextlib.ExitStack() as flood:
            flood.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            held = [flood.enter_context(connected(server)) for _ in range(7)]
            for _ in range(12):
                with pytest.raises(OSError), connected(server):
                    pass
            with connected(server, "127.0.0.2") as other:
                assert b" 200 " in answer(other, HEALTH)
            assert b" 200 " in answer(held[0], HEALTH)
        assert server.log.read_text().count('"too many connections"') == 1
        assert _is_served_again(server)


def _is_served_again(server: LicenseServer) -> bool:
    """Ask until the server has seen that the others have gone."""
    for _ in range(300):
        with contextlib.suppress(OSError), connected(server) as again:
            return b" 200 " in answer(again, HEALTH)
        time.sleep(0.1)
    return False


SLOW_HEADS, SLOW_BODIES, ENDLESS_BODIES = 16, 16, 4
DRIP_S = 0.2


def _drips(server: LicenseServer, source: str, first: bytes, more: bytes, stop: threading.Event) -> None:
    """Send a piece now and then, and connect again when cut off, until told to stop."""
    while not stop.is_set():
        with contextlib.suppress(OSError), connected(server, source) as spoken:
            spoken.sendall(first)
            while not stop.wait(DRIP_S):
                spoken.sendall(more)


@contextlib.contextmanager
def besieged(server: LicenseServer, path: str) -> Iterator[None]:
    """Slow heads, slow bodies and bodies without end, from addresses of their own."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    kinds = (
        *SLOW_HEADS * [(b"GET /livez HTTP/1.1\r\nX: ", b"x")],
        *SLOW_BODIES * [(head + b"Content-Length: 10000\r\n\r\n", b" ")],
        *ENDLESS_BODIES * [(head + b"Transfer-Encoding: chunked\r\n\r\n", 16 * chunk)],
    )
    stop = threading.Event()
    threads = [
        threading.Thread(target=_drips, args=(server, f"127.0.1.{number + 1}", first, more, stop), daemon=True)
        for number, (first, more) in enumerate(kinds)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def test_boxes_are_served_beside_slow_and_endless_clients(tmp_path: Path) -> None:
    """Some are cut off, and come again; a box enrols and renews meanwhile."""
    limits = {"requests_per_minute": 100_000, "headers_s": 2, "body_s": 2, "connections": 64}
    with limited(tmp_path, **limits) as (world, server), besieged(server, "/v1/nonces"):
        license_, (code,) = world.issue()
        device = world.device(0)
        _wait_for(lambda: _requests(server) >= 2)
        with server.client() as http:
            box = BoxClient(http)
            lease = verify_lease(box.prove(device.proof(box.challenge(device.request(code)))).leases[0], world.service)
            for _ in range(5):
                device.pass_time(60)
                renewed = box.renew(device.renewal(license_.license_id, lease.next_nonce))
                device.increment()
                lease = verify_lease(renewed.leases[0], world.service)
        assert lease.number == 6


def test_operators_are_served_beside_slow_and_endless_clients(tmp_path: Path) -> None:
    """The same on their listener."""
    world = LicenseWorld.create(tmp_path / "service", now=int(time.time()))
    set_limits(world.folder, requests_per_minute=100_000, headers_s=2, body_s=2, connections=64)
    license_, _ = world.issue()
    _, token = create_token(world.store, OPERATOR, "siege", Role.READ_ONLY, now=int(time.time()))
    with running_service(world.folder, "serve-operators") as server, besieged(server, "/api/v1/session"):
        _wait_for(lambda: _requests(server) >= 2)
        with server.client() as http:
            for _ in range(5):
                reply = http.get(
                    f"/api/v1/licenses/{license_.license_id}", headers={"Authorization": f"Bearer {token}"}
                )
                assert reply.status_code == 200
                assert license_.license_id in reply.text
    world.store.close()


def _wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to come."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it did not come"
        time.sleep(0.1)
