"""The customer's side of a virtual box: reads its console, activates it, asks its models.

TLS is trusted as an administrator would: the certificate whose fingerprint stands on the console, and no other.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from sealwright_testing.vendor import Vendor, command
from sealwright_testing.virtual_box import VirtualBox

ANSWER_TOKENS = 160
ASK_TIMEOUT_S = 300.0
HANDSHAKE_S = 10.0
"""Of the first try."""


@dataclass(frozen=True, slots=True)
class Placard:
    """What a fresh box says on its console."""

    device_id: str
    tls_fingerprint: str
    claim_code: str


def read_placard(box: VirtualBox) -> Placard:
    """Wait until a fresh box shows its ids and asks to be activated."""
    lines = {
        name: box.expect(f"sealwright: {pattern}")
        for name, pattern in (
            ("device_id", "device ([a-z2-7]{52})"),
            ("tls_fingerprint", "tls fingerprint (sha256:[0-9a-f]{64})"),
            ("claim_code", "claim code ([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})"),
        )
    }
    box.expect("sealwright: state waiting-for-activation")
    return Placard(**lines)


def activate(box: VirtualBox, placard: Placard, activation_code: str) -> dict[str, Any]:
    """Activate with the customer's own command, which acknowledges the secrets; returns them."""
    url = f"https://127.0.0.1:{box.port}"
    wait_for_https(box)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets.json"
        command(
            *("sealwright-box", "activate", url, "--fingerprint", placard.tls_fingerprint, "--secrets", file),
            typed=f"{placard.claim_code}\n{activation_code}\n",
        )
        secrets: dict[str, Any] = json.loads(file.read_bytes())
    return secrets


def verify(box: VirtualBox, placard: Placard, vendor: Vendor) -> None:
    """Have its TPM prove what runs, and that the certificate of its console is its own."""
    files = (
        *("--service", vendor.license_directory / "license-service.json"),
        *("--manifest-key", vendor.image / "manifest-key.pem"),
    )
    known = ("--device", placard.device_id, "--tier", "software", *files)
    with tempfile.TemporaryDirectory() as own:
        words = ("verify", f"https://127.0.0.1:{box.port}", *known, "--json")
        said = json.loads(command("sealwright-box", *words, variables={"XDG_STATE_HOME": own}))
    assert (said["result"], said["device_id"]) == ("verified", placard.device_id)
    assert said["fingerprint"] == placard.tls_fingerprint


def wipe(box: VirtualBox, placard: Placard, secrets: dict[str, Any]) -> None:
    """Order the end of the customer's data; the box restarts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secrets.json"
        file.write_text(json.dumps(secrets))
        known = ("--fingerprint", placard.tls_fingerprint, "--customer-key", file)
        command("sealwright-box", "wipe", f"https://127.0.0.1:{box.port}", *known, "--yes")


def wait_for_https(box: VirtualBox) -> None:
    """Wait until the gateway answers; QEMU accepts connections before it does, so that a try has an end. On a slow
    machine a handshake may take longer than the try before gave it."""
    limit_s = HANDSHAKE_S

    def answers() -> bool:
        nonlocal limit_s
        try:
            _certificate(box.port, limit_s)
        except TimeoutError:
            limit_s *= 2
            return False
        except OSError:
            return False
        return True

    box.wait_until(answers, "HTTPS")


def status(box: VirtualBox) -> dict[str, Any]:
    """``GET /status``, without comparing the fingerprint: there is no secret in it."""
    return _document(box, "status")


def approvals(box: VirtualBox) -> dict[str, Any]:
    """``GET /approvals``, likewise: which releases may open the customer's data."""
    return _document(box, "approvals")


def administer(box: VirtualBox, placard: Placard, api_key: str, *words: str | Path) -> Any:
    """One of the commands ``sealwright-box WORD WORD URL …``, with the administrator's key; its JSON.

    Raises:
        CommandError: the box refuses; its words are in the output.
    """
    group, name, *more = words
    known = (f"https://127.0.0.1:{box.port}", *more, "--fingerprint", placard.tls_fingerprint, "--json")
    return json.loads(command("sealwright-box", group, name, *known, typed=f"{api_key}\n"))


def _document(box: VirtualBox, path: str) -> dict[str, Any]:
    url = f"https://127.0.0.1:{box.port}/{path}"
    reply = httpx.get(url, verify=_trust(box.port, None), timeout=ASK_TIMEOUT_S, trust_env=False)
    document: dict[str, Any] = reply.raise_for_status().json()
    return document


def post_activation(box: VirtualBox, claim_code: str, activation_code: str) -> httpx.Response:
    """``POST /activation`` as it is, for refusals."""
    return httpx.post(
        f"https://127.0.0.1:{box.port}/activation",
        json={"claim_code": claim_code, "activation_code": activation_code},
        verify=_trust(box.port, None),
        timeout=ASK_TIMEOUT_S,
        trust_env=False,
    )


@contextmanager
def colleague(box: VirtualBox, api_key: str, fingerprint: str) -> Iterator[openai.OpenAI]:
    """An OpenAI client that trusts the box's certificate by its fingerprint."""
    session = openai.DefaultHttpxClient(verify=_trust(box.port, fingerprint), timeout=ASK_TIMEOUT_S, trust_env=False)
    with openai.OpenAI(
        api_key=api_key, base_url=f"https://127.0.0.1:{box.port}/v1", http_client=session, max_retries=0
    ) as client:
        yield client


@contextmanager
def plain_client(box: VirtualBox, api_key: str, fingerprint: str) -> Iterator[httpx.Client]:
    """The same trust and key, for requests that no OpenAI client makes."""
    with httpx.Client(
        base_url=f"https://127.0.0.1:{box.port}",
        headers={"Authorization": f"Bearer {api_key}"},
        verify=_trust(box.port, fingerprint),
        timeout=ASK_TIMEOUT_S,
        trust_env=False,
    ) as client:
        yield client


def ask(client: openai.OpenAI, model: str, question: str) -> str:
    """One question, one answer, greedy."""
    reply = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=ANSWER_TOKENS
    )
    return (reply.choices[0].message.content or "").strip()


def refusal(client: openai.OpenAI, model: str) -> openai.APIStatusError:
    """The error with which the box refuses a question."""
    try:
        answer = ask(client, model, "What is this?")
    except openai.APIStatusError as error:
        return error
    raise AssertionError(f"the box answered: {answer}")


def _trust(port: int, fingerprint: str | None) -> ssl.SSLContext:
    """Trust in the certificate that the box shows, if its fingerprint is the expected one."""
    certificate = _certificate(port)
    found = "sha256:" + hashlib.sha256(certificate).hexdigest()
    if fingerprint is not None and found != fingerprint:
        raise AssertionError(f"the box shows {found} on the network and {fingerprint} on its console")
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(certificate))
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _certificate(port: int, timeout_s: float = ASK_TIMEOUT_S) -> bytes:
    """The certificate shown on a port, DER; whether it is the right one is compared by fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as plain,
        context.wrap_socket(plain) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    if certificate is None:
        raise OSError("no certificate")
    return certificate


def save_certificate(box: VirtualBox, target: Path) -> None:
    """Keep the box's certificate, PEM, for clients that want a file."""
    target.write_text(ssl.DER_cert_to_PEM_cert(_certificate(box.port)))
