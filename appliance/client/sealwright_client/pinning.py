"""TLS to a box that is known by the fingerprint on its console: that certificate, and no other, is trusted."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from sealwright_policies.errors import OperationError, SealwrightError, UsageError

CONNECT_S = 15.0
DEFAULT_PORT = 8443
PIN_LIMIT = 256
"""Characters of a file with a fingerprint."""
FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


class WrongBoxError(SealwrightError):
    """Another machine answers, or somebody is in between."""

    exit_code = 10


def parse_fingerprint(text: str) -> str:
    """A fingerprint as the console shows it, or ``@FILE`` with one.

    Upper case, colons and a missing ``sha256:`` are put right.

    Raises:
        UsageError: not a SHA-256 fingerprint, or a file that cannot be read.
    """
    if text.startswith("@"):
        text = _read_pin(Path(text[1:]))
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "").replace(" ", "")
    fingerprint = f"sha256:{digits}"
    if not FINGERPRINT.fullmatch(fingerprint):
        raise UsageError("A fingerprint is sha256: and 64 hexadecimal digits, as the box's console shows it, or @FILE.")
    return fingerprint


def _read_pin(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(PIN_LIMIT)
    except (OSError, ValueError) as error:  # ValueError: no file has such a name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {reason}.") from None


def parse_box_url(url: str) -> tuple[str, int]:
    """Host and port of ``https://HOST[:PORT]``.

    Raises:
        UsageError: something else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise UsageError(f"{url!r} is not an address.") from None
    if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise UsageError(f"{url!r} is not of the form https://HOST:PORT.")
    return parts.hostname, port


def shown_certificate(host: str, port: int) -> bytes:
    """The certificate that the box shows, DER. Showing it proves nothing yet.

    Raises:
        OperationError: nobody answers, or not with TLS 1.3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_S) as plain,
            context.wrap_socket(plain) as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
    except OSError as error:
        raise OperationError(
            f"{host}:{port} does not answer: {error.strerror or error}.",
            cure="Check the address, and that the box is switched on.",
        ) from None
    if certificate is None:
        raise OperationError(f"{host}:{port} shows no certificate.")
    return certificate


def fingerprint_of(certificate: bytes) -> str:
    """``sha256:`` and the digest of a DER certificate."""
    return f"sha256:{hashlib.sha256(certificate).hexdigest()}"


def pinned_context(certificate: bytes, fingerprint: str) -> ssl.SSLContext:
    """A TLS context that trusts one certificate.

    Raises:
        WrongBoxError: it is not the one of the fingerprint.
    """
    found = fingerprint_of(certificate)
    if not hmac.compare_digest(found, fingerprint):
        raise WrongBoxError(f"The box on the network shows {found}, not {fingerprint}. Nothing was sent to it.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The fingerprint says which box it is; its certificate cannot know under which names the customer reaches it.
    context.check_hostname = False
    context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(certificate))
    return context
