"""TLS between two boxes: each side trusts one certificate of the other, which its agent has had vouched for or will.

See policies/spec/domain-flow.md, 6. What is said is for the agents to believe.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from sealwright_appliance.serve.errors import ApiError

CODE = re.compile("[A-Z_]{1,64}")
DEFAULT_PORT = 8443
CONNECT_S = 15.0
TIMEOUT_S = 150.0
"""The other box's TPM may be renewing a lease."""


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where the other box is."""

    host: str
    port: int

    def url(self, port: int) -> str:
        """Of one of its ports."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{port}"


def parse_peer_address(text: str) -> PeerAddress:
    """Host and port of ``https://HOST[:PORT]``.

    Raises:
        ApiError: something else.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise ApiError(400, "invalid_parameter", "peer: https://HOST:PORT.", param="peer")
    return PeerAddress(parts.hostname, port)


async def shown_certificate(address: PeerAddress) -> bytes:
    """The certificate that the other box shows, DER. Showing it proves nothing yet.

    Raises:
        ApiError: nobody answers, or not with TLS 1.3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except (OSError, TimeoutError):
        raise unreachable() from None
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    if not isinstance(found, bytes):
        raise unreachable()
    return found


def client_context(peer_certificate: bytes, certificate: Path, private_key: Path) -> ssl.SSLContext:
    """For the sender: trusts one certificate, DER, and shows the box's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # a certificate names no address at which its box is reached
    context.load_verify_locations(cadata=peer_certificate)
    context.load_cert_chain(certificate, private_key)
    return context


def server_context(peer_certificate: bytes, certificate: Path, private_key: Path) -> ssl.SSLContext:
    """For the receiver: demands one certificate, DER, and shows the box's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=peer_certificate)
    context.load_cert_chain(certificate, private_key)
    return context


@asynccontextmanager
async def connected(context: ssl.SSLContext, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Calls of the other box."""
    async with httpx.AsyncClient(
        base_url=url, verify=context, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
    ) as client:  # fmt: skip
        yield client


async def ask(client: httpx.AsyncClient, method: str, path: str, limit: int, **options: Any) -> bytes:
    """One call; its reply, at most ``limit`` bytes of it. Nothing is unpacked: a few bytes could become gigabytes.

    Raises:
        ApiError: nobody answers in time, the reply is too long or packed, or the other box refuses, with its code.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S), client.stream(method, path, **options) as reply:
            if "content-encoding" in reply.headers:
                raise ApiError(502, "peer_failed", "The other box packs what it answers.")
            parts, size = [], 0
            async for part in reply.aiter_raw():
                size += len(part)
                if size > limit:
                    raise ApiError(502, "peer_failed", "The other box answers more than it should.")
                parts.append(part)
    except (httpx.HTTPError, TimeoutError):
        raise unreachable() from None
    content = b"".join(parts)
    if not reply.is_success:
        raise _refusal(reply.status_code, content)
    return content


def unreachable() -> ApiError:
    """Nobody is there, or the connection broke."""
    return ApiError(502, "peer_unreachable", "The other box does not answer, or the connection broke. Send it again.")


def _refusal(status: int, content: bytes) -> ApiError:
    """Of an RFC 9457 problem or an error of ours; text of another box, so it is cut and kept apart from our own.

    Only letters that move no cursor are left of it: an administrator reads it on a terminal.
    """
    try:
        document = httpx.Response(200, content=content).json()
    except (ValueError, RecursionError):
        document = None
    source = document.get("error", document) if isinstance(document, dict) else {}
    source = source if isinstance(source, dict) else {}
    code = str(source.get("code"))
    code = code if CODE.fullmatch(code) else str(status)
    sentence = "".join(one for one in str(source.get("detail", source.get("message", ""))) if " " <= one <= "~")[:400]
    return ApiError(409, "peer_refused", f"The other box refuses ({code}): {sentence}")


def sha256(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()
