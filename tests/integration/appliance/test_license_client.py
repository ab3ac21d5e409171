"""The box's side of HTTPS: one trust anchor, TLS 1.3, bounded replies, no detours. Real servers, real TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_appliance import license_client
from sealwright_appliance.license_client import Cause, DeniedError, LicenseClient, ServiceUnreachableError
from sealwright_appliance.site.settings import Proxy
from sealwright_policies.wire.messages import MESSAGE_LIMIT
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.connect_proxy import ConnectProxy
from sealwright_testing.ports import free_port

DEVICE = "a" * 52
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Authority:
    """A CA and a certificate for 127.0.0.1 by it."""

    ca_pem: str
    chain: Path


def make_authority(directory: Path, name: str, *, years: tuple[int, int] = (2024, 2090)) -> Authority:
    """A new CA, whose certificates are good between these years."""
    start = datetime.datetime(years[0], 1, 1, tzinfo=datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    base = x509.CertificateBuilder().issuer_name(subject).not_valid_before(start)
    base = base.not_valid_after(start.replace(year=years[1]))
    ca = (
        base.subject_name(subject)
        .public_key(ca_key.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = (
        base.subject_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(host, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = directory / f"{name}.pem"
    chain.write_bytes(leaf.public_bytes(pem) + private)
    return Authority(ca.public_bytes(pem).decode(), chain)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The service's CA."""
    return make_authority(tmp_path_factory.mktemp("ca"), "service")


@contextmanager
def server(
    authority: Authority, answer: Answer, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[LicenseService]:
    """An HTTPS server that answers every POST in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(authority.chain)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield service(authority, listening.server_address[1])
    finally:
        listening.shutdown()
        listening.server_close()


def service(authority: Authority, port: int) -> LicenseService:
    """What a box knows of that server."""
    key = "-----BEGIN PUBLIC KEY-----\n"
    return LicenseService(
        version=1,
        service_id="service-1",
        url=f"https://127.0.0.1:{port}",
        ca=authority.ca_pem,
        lease_document_key=key,
        lease_policy_key=key,
        device_ca=authority.ca_pem,
        log_key=key,
        custodian_keys=CustodianKeys(lease_share=key, release_share=key),
    )


def reply(status: int, body: bytes, **headers: str) -> Answer:
    """Answer with these bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


NONCE = reply(200, json.dumps({"nonce": "AAAA", "expires_at": 1}).encode())


def ask(known: LicenseService, proxy: Proxy | None = None) -> bytes:
    """One call."""
    client = LicenseClient(known)
    client.use_proxy(proxy)
    try:
        return client.nonce(DEVICE).nonce
    finally:
        client.close()


def test_an_answer_is_parsed(authority: Authority) -> None:
    """The usual case."""
    with server(authority, NONCE) as known:
        assert ask(known) == bytes(3)


@pytest.mark.parametrize(("lost", "is_answered"), [(1, True), (2, False)])
def test_a_message_that_a_closed_connection_lost_is_sent_once_more(
    authority: Authority, lost: int, is_answered: bool
) -> None:
    """As at the service's restart, to whoever has a connection of it open."""
    asked = 0

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal asked
        asked += 1
        if asked > lost:
            NONCE(handler)

    with server(authority, answer) as known:
        if is_answered:
            assert ask(known) == bytes(3)
        else:
            with pytest.raises(ServiceUnreachableError):
                ask(known)
    assert asked == 2


def test_another_ca_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    """The one in the image counts, whatever is installed in the system."""
    with server(make_authority(tmp_path, "stranger"), NONCE) as known, pytest.raises(ServiceUnreachableError):
        ask(known.model_copy(update={"ca": authority.ca_pem}))


@pytest.mark.parametrize("years", [(2001, 2002), (2080, 2090)], ids=["ended", "not-begun"])
def test_certificates_have_no_dates_for_a_box(authority: Authority, tmp_path: Path, years: tuple[int, int]) -> None:
    """As a box sees them whose clock says 2099, or 1970: it can still renew. The CA counts, at any time."""
    timeless = make_authority(tmp_path, "timeless", years=years)
    with server(timeless, NONCE) as known:
        assert ask(known) == bytes(3)
        with pytest.raises(ServiceUnreachableError, match="verify failed"):
            ask(known.model_copy(update={"ca": authority.ca_pem}))


def test_old_tls_is_refused(authority: Authority) -> None:
    """A server that can do TLS 1.2 only."""
    with server(authority, NONCE, newest=ssl.TLSVersion.TLSv1_2) as known, pytest.raises(ServiceUnreachableError):
        ask(known)


def test_redirects_are_not_followed(authority: Authority) -> None:
    """Evidence goes to the service and nowhere else."""
    with server(authority, NONCE) as elsewhere:
        away = reply(307, b"", Location=elsewhere.url + "/v1/nonces")
        with server(authority, away) as known, pytest.raises(ServiceUnreachableError, match="307"):
            ask(known)


def test_proxies_of_the_environment_are_ignored(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is a CA file that the environment names."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with server(authority, NONCE) as known:
        assert ask(known) == bytes(3)


def at(port: int) -> Proxy:
    return Proxy(host="localhost", port=port)


def test_a_proxy_that_is_set_sees_ciphertext_alone(authority: Authority) -> None:
    """And where it goes."""
    with server(authority, NONCE) as known, ConnectProxy().running() as proxy:
        assert ask(known, at(proxy.port)) == bytes(3)
        assert proxy.asked_for == [f"CONNECT {known.url.removeprefix('https://')}"]
        assert proxy.seen[:3] == b"\x16\x03\x01"  # a TLS record, ClientHello
        assert DEVICE.encode() not in proxy.seen


def test_a_proxy_that_opens_tls_is_refused(authority: Authority, tmp_path: Path) -> None:
    """Its certificate is by another CA, as that of a box in the middle."""
    heard: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.path)
        NONCE(handler)

    with server(authority, NONCE) as known, server(make_authority(tmp_path, "middle"), answer) as middle:
        diverting = ConnectProxy(diverts_to=int(middle.url.rpartition(":")[2]))
        with diverting.running() as proxy, pytest.raises(ServiceUnreachableError) as caught:
            ask(known, at(proxy.port))
    assert (caught.value.cause, heard) == (Cause.TLS, [])


def test_what_stands_between_is_told(authority: Authority) -> None:
    """In words of ours: what a proxy says is a stranger's text."""
    with server(authority, NONCE) as known:
        with ConnectProxy(refuses=True).running() as proxy, pytest.raises(ServiceUnreachableError) as refused:
            ask(known, at(proxy.port))
        assert (refused.value.cause, "403" in str(refused.value)) == (Cause.PROXY_REFUSES, True)
        assert "policy" not in str(refused.value)
        for proxy_, cause in ((at(free_port()), Cause.PROXY), (Proxy(host="proxy.invalid", port=1), Cause.PROXY)):
            with pytest.raises(ServiceUnreachableError) as away:
                ask(known, proxy_)
            assert away.value.cause is cause
    with pytest.raises(ServiceUnreachableError) as nobody:
        ask(service(authority, free_port()))
    with pytest.raises(ServiceUnreachableError) as nameless:
        ask(known.model_copy(update={"url": "https://license.invalid"}))
    assert (nobody.value.cause, nameless.value.cause) == (Cause.CONNECTION, Cause.NAME)


def test_a_reply_is_bounded(authority: Authority) -> None:
    """A service that sends without end is left."""
    with server(authority, reply(200, b" " * (MESSAGE_LIMIT + 1))) as known, pytest.raises(ServiceUnreachableError):
        ask(known)


def test_a_dripping_reply_is_left(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole exchange has an end, not only each pause in it."""
    monkeypatch.setattr(license_client, "REPLY_S", -1.0)
    with server(authority, NONCE) as known, pytest.raises(ServiceUnreachableError, match="took over"):
        ask(known)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"nonce": "AAAA"}', b'{"nonce": "AAAA", "expires_at": 1, "x": 1}']
)
def test_what_is_not_our_protocol_is_unreachable(authority: Authority, body: bytes) -> None:
    """A proxy's page, half a reply, a field that nobody knows."""
    with server(authority, reply(200, body)) as known, pytest.raises(ServiceUnreachableError):
        ask(known)


def test_a_denial_carries_its_code(authority: Authority) -> None:
    """And its sentence."""
    problem = {"type": "t", "title": "t", "status": 403, "detail": "Revoked.", "code": "REVOKED", "mismatches": []}
    with server(authority, reply(403, json.dumps(problem).encode())) as known, pytest.raises(DeniedError) as caught:
        ask(known)
    assert (caught.value.status, caught.value.code, caught.value.sentence) == (403, "REVOKED", "Revoked.")


def test_nobody_there(authority: Authority) -> None:
    """The message has the cure."""
    with pytest.raises(ServiceUnreachableError, match="does not answer") as caught:
        ask(service(authority, 1))
    assert "network" in caught.value.cure
