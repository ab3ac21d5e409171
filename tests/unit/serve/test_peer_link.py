"""What a gateway takes from another box that nobody has believed yet."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from sealwright_appliance.serve import flow_sending, peer_link
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.flow_listener import FlowListener
from sealwright_appliance.serve.flow_sending import FlowSending
from sealwright_appliance.serve.gateway_tls import GatewayTls
from sealwright_appliance.serve.peer_link import PeerAddress, ask, client_context, connected, shown_certificate
from sealwright_appliance.tls import make_tls_identity

LIMIT = 4096


@pytest.fixture
def tls(tmp_path: Path) -> GatewayTls:
    """A box's certificate and key."""
    identity = make_tls_identity("a" * 52)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(identity.certificate)
    key.write_bytes(identity.key)
    return GatewayTls(certificate, key, "127.0.0.1", 0)


@asynccontextmanager
async def peer_saying(tls: GatewayTls, reply: bytes, *, every_s: float = 0.0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A box that answers this, all at once or a byte at a time; its port, and what it was asked."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        for part in [reply] if not every_s else [bytes([one]) for one in reply]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every_s)
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.private_key)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


def said(status: int, body: bytes, *headers: str) -> bytes:
    """A reply on the wire."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def asked_of(tls: GatewayTls, reply: bytes, **options: Any) -> tuple[bytes | ApiError, list[bytes]]:
    """What a sender gets of that answer, and what the peer was asked."""

    async def run() -> tuple[bytes | ApiError, list[bytes]]:
        async with peer_saying(tls, reply, **options) as (port, heard):
            address = PeerAddress("127.0.0.1", port)
            context = client_context(await shown_certificate(address), tls.certificate, tls.private_key)
            async with connected(context, address.url(port)) as peer:
                try:
                    return await ask(peer, "POST", "/flows/hello", LIMIT), heard
                except ApiError as error:
                    return error, heard

    return asyncio.run(run())


def refusal(tls: GatewayTls, reply: bytes, **options: Any) -> ApiError:
    """The same, which must be refused."""
    error, _ = asked_of(tls, reply, **options)
    assert isinstance(error, ApiError)
    return error


def test_a_reply_comes_as_it_was_sent(tls: GatewayTls) -> None:
    """And no encoding is asked for."""
    content, heard = asked_of(tls, said(200, b"{}"))
    assert content == b"{}"
    assert b"\r\naccept-encoding: identity\r\n" in heard[-1].lower()


def test_a_packed_reply_is_not_unpacked(tls: GatewayTls) -> None:
    """Sixty kilobytes could be sixty megabytes."""
    error = refusal(tls, said(200, gzip.compress(bytes(64 * 1024 * 1024)), "Content-Encoding: gzip"))
    assert (error.code, error.message) == ("peer_failed", "The other box packs what it answers.")


def test_a_reply_that_comes_a_byte_at_a_time_is_waited_for_only_so_long(
    tls: GatewayTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte would begin a timeout of single reads anew."""
    monkeypatch.setattr(peer_link, "TIMEOUT_S", 0.5)
    assert refusal(tls, said(200, bytes(2000)), every_s=0.01).code == "peer_unreachable"


def test_a_refusal_keeps_its_code_and_its_sentence(tls: GatewayTls) -> None:
    body = json.dumps({"code": "DOMAIN_FORBIDS", "detail": "This box expects no flow like that."}).encode()
    assert refusal(tls, said(403, body)).message == (
        "The other box refuses (DOMAIN_FORBIDS): This box expects no flow like that."
    )


@pytest.mark.parametrize(
    "document",
    [
        {"code": "\x1b[2J", "detail": "\x1b]0;owned\x07no\u202e\n\r\x9b"},
        {"error": {"code": "A" * 65, "message": "]0;owned\u200bno\x00"}},
        {"code": ["FLOW_BUSY"], "detail": "]0;ownedn\u00f6o"},
    ],
)
def test_a_strangers_words_move_no_cursor(tls: GatewayTls, document: dict[str, Any]) -> None:
    message = refusal(tls, said(403, json.dumps(document).encode())).message
    assert message == "The other box refuses (403): ]0;ownedno"


def test_a_refusal_that_is_nested_without_end_is_one(tls: GatewayTls) -> None:
    """The parser gives up; the gateway does not."""
    body = b"[" * LIMIT
    assert refusal(tls, said(403, body)).message == "The other box refuses (403): "


class Agent:
    """Says how a flow begins, when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.let.set()

    async def flow(self, *_: str, **__: Any) -> httpx.Response:
        """Any order."""
        await self.let.wait()
        return httpx.Response(200, json={"flow_id": "0a" * 16, "frames": 1, "hello": {}})


def _no_certificate() -> bytes:
    return b"no certificate"


def _no_url() -> bytes:
    raise httpx.InvalidURL("Invalid port")


@pytest.mark.parametrize("shown", [_no_certificate, _no_url])
def test_a_flow_to_nonsense_has_failed(
    tls: GatewayTls, monkeypatch: pytest.MonkeyPatch, shown: Callable[[], bytes]
) -> None:
    """It does not stay as if it met somebody."""

    async def answer(_: PeerAddress) -> bytes:
        return shown()

    async def run() -> str:
        sending = FlowSending(cast(Box, Agent()), tls)
        await sending.start({}, PeerAddress("127.0.0.1", 1), "key")
        assert sending.progress is not None
        assert sending._task is not None
        await asyncio.wait([sending._task])
        return sending.progress.state

    monkeypatch.setattr(flow_sending, "shown_certificate", answer)
    assert asyncio.run(run()) == "failed"


def test_two_orders_at_once_begin_one_flow(tls: GatewayTls) -> None:
    async def run() -> list[Any]:
        agent = Agent()
        agent.let.clear()
        sending = FlowSending(cast(Box, agent), tls)
        address = PeerAddress("127.0.0.1", 1)
        both = [asyncio.create_task(sending.start({}, address, "key")) for _ in range(2)]
        await asyncio.sleep(0)
        agent.let.set()
        ended = await asyncio.gather(*both, return_exceptions=True)
        await sending.close()
        return ended

    begun, refused = asyncio.run(run())
    assert begun["state"] == "meeting"
    assert isinstance(refused, ApiError)
    assert refused.code == "FLOW_BUSY"


def test_a_stranger_leaves_the_port_for_frames_to_the_sender(tls: GatewayTls) -> None:
    """Another address opens what it can and says nothing."""

    async def run() -> None:
        listener = FlowListener(cast(Box, Agent()), tls)
        shown = ssl.PEM_cert_to_DER_cert(tls.certificate.read_text())
        port = await listener.open("0a" * 16, shown)
        idle = []
        for _ in range(16):
            one = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
            idle.append(one)
        await asyncio.sleep(0.2)
        try:
            context = client_context(shown, tls.certificate, tls.private_key)
            async with connected(context, f"https://127.0.0.1:{port}") as peer:
                assert await ask(peer, "PUT", "/frames/0", LIMIT, content=b"frame")
        finally:
            for one in idle:
                one.close()
            await listener.close()

    asyncio.run(run())
