"""Clients that take their time, or all the places: the gateway closes, and serves the others.

What must end does so under deadlines of a second; the tests wait far longer than that, and do not ask when it came.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from sealwright_appliance.serve.connections import Limits
from sealwright_testing.scripted_engine import is_asked_to_answer
from sealwright_testing.serving import ServingBox, serving_box

WAIT_S = 60.0
HASTY = Limits(handshake_s=1.0, head_s=1.0, body_s=1.0)
NARROW = Limits(connections_of_peer=8, connections=12)
CHAT = "POST /v1/chat/completions HTTP/1.1\r\nHost: box\r\n"
ELSEWHERE = "127.0.0.2"
WORD = b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n'


@pytest.fixture(scope="module")
def hasty_box() -> Iterator[ServingBox]:
    """A gateway with short deadlines; its engine is the test's."""
    with serving_box({"elsewhere": None}, HASTY) as made:
        made.paths.engine_socket("elsewhere").parent.mkdir(parents=True, exist_ok=True)
        yield made


@pytest.fixture
def box(hasty_box: ServingBox) -> Iterator[ServingBox]:
    """Slow clients are no errors of it, and leave it answering."""
    yield hasty_box
    with hasty_box.http() as client:
        assert client.get("/healthz").status_code == 200
    assert "Traceback" not in hasty_box.gateway_log


@pytest.fixture
def narrow_box() -> Iterator[ServingBox]:
    """A gateway with few places, none of which another test's connections still have."""
    with serving_box({}, NARROW) as made:
        yield made


@contextmanager
def connected(box: ServingBox, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection without TLS, from one of the addresses of loopback."""
    with socket.create_connection(("127.0.0.1", box.port), timeout=WAIT_S, source_address=(address, 0)) as plain:
        yield plain


@contextmanager
def secured(box: ServingBox, address: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A connection behind its handshake."""
    with connected(box, address) as plain, box.trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        yield secure


def takes_connections(box: ServingBox) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", box.port)) == 0


def trickle(client: ssl.SSLSocket, byte: bytes) -> bool:
    """Send a byte now and then until the other side closes; whether it did."""
    client.settimeout(0.2)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            client.sendall(byte)
            while client.recv(4096):
                pass
        except TimeoutError:
            continue
        except OSError:
            return True
        return True
    return False


def test_a_client_that_says_nothing_is_closed(box: ServingBox) -> None:
    with secured(box) as client, suppress(ConnectionError, ssl.SSLError):
        assert client.recv(1) == b""


@pytest.mark.parametrize("head", ["", "GET / HTTP/1.1\r\nX-Slow: "])
def test_a_head_that_does_not_come_to_an_end_closes(box: ServingBox, head: str) -> None:
    with secured(box) as client:
        client.sendall(head.encode())
        assert trickle(client, b"x")


def test_a_second_head_that_does_not_come_to_an_end_closes(box: ServingBox) -> None:
    """Its first byte ends what a server allows an idle connection."""
    with secured(box) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert trickle(client, b"G")


@pytest.mark.parametrize("authorized", [True, False])
def test_a_body_that_does_not_come_to_an_end_closes(box: ServingBox, *, authorized: bool) -> None:
    """Also behind a refusal that did not wait for it."""
    key = f"Authorization: Bearer {box.api_key}\r\n" if authorized else ""
    with secured(box) as client:
        client.sendall(f"{CHAT}{key}Content-Length: 100000\r\n\r\n".encode())
        assert trickle(client, b" ")


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_does_not_come_to_an_end_closes(box: ServingBox, hello: bytes) -> None:
    with connected(box) as client:
        client.sendall(hello)
        assert client.recv(4096) == b""


def test_what_comes_in_time_is_answered_and_may_take_longer(box: ServingBox) -> None:
    """A head in pieces; and a reply that outlasts all of these deadlines, over a connection that then idles."""

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await is_asked_to_answer(reader, writer):
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in [WORD] * 6 + [b"data: [DONE]\n\n"]:
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.5)
        writer.write(b"0\r\n\r\n")

    async def run() -> str:
        body = {"model": "elsewhere", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        headers = {"Authorization": f"Bearer {box.api_key}"}
        async with (
            await asyncio.start_unix_server(engine, box.paths.engine_socket("elsewhere")),
            httpx.AsyncClient(base_url=box.url, verify=box.trust, headers=headers, timeout=WAIT_S) as client,
        ):
            return (await client.post("/v1/chat/completions", json=body)).text

    with secured(box) as client:
        for part in (b"GET /heal", b"thz HTTP/1.1\r\nHo", b"st: box\r\n\r\n"):
            client.sendall(part)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
    said = asyncio.run(run())
    assert said.count("word") == 6
    assert "[DONE]" in said


def test_a_gateway_that_is_told_to_stop_finishes_what_runs_and_ends() -> None:
    """No further connection is taken meanwhile."""
    with serving_box({}, NARROW) as box, secured(box) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer {box.api_key}\r\n"
        client.sendall(f"{head}Content-Length: 2\r\n\r\n{{".encode())
        box.gateway.terminate()
        deadline = time.monotonic() + WAIT_S
        while takes_connections(box):
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.05)
        client.sendall(b"}")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
        assert box.gateway.wait(WAIT_S) == -signal.SIGTERM
        assert "Traceback" not in box.gateway_log


def test_one_peer_does_not_take_all_places(narrow_box: ServingBox) -> None:
    """Connections count from the first packet; who has too many gets no further one, others do."""
    with ExitStack() as many:
        for _ in range(NARROW.connections_of_peer):
            many.enter_context(connected(narrow_box, ELSEWHERE))
        with connected(narrow_box, ELSEWHERE) as one_more, pytest.raises(OSError):
            narrow_box.trust.wrap_socket(one_more, server_hostname="127.0.0.1")
        with secured(narrow_box) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n")
            assert other.recv(4096).startswith(b"HTTP/1.1 200")


def test_all_places_together_are_bounded_and_come_back(narrow_box: ServingBox) -> None:
    with ExitStack() as many:
        for number in range(NARROW.connections):
            many.enter_context(connected(narrow_box, f"127.0.1.{1 + number}"))
        with connected(narrow_box) as one_more, pytest.raises(OSError):
            narrow_box.trust.wrap_socket(one_more, server_hostname="127.0.0.1")
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            with secured(narrow_box):
                return
        except OSError:
            assert time.monotonic() < deadline, "the places did not come back"
            time.sleep(0.1)
