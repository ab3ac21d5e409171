"""A small OpenID provider over loopback TLS: discovery, authorisation code with PKCE, one client, ES256.

It lets in whoever it was told to. Tests spoil one part of its answers at a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

from sealwright_custody.secret_file import write_secret
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.keys import TLS_CA_CERTIFICATE

CLIENT_ID, CLIENT_SECRET = "sealwright", "not-a-secret-in-tests"


@dataclass
class OpenidProvider:
    """What it knows, and what it says of the person."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """Claims of the id token that are to be wrong."""
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", auto_kid=True))
    signer: ECKey | None = None
    """Another key that signs."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, asked: dict[str, str]) -> str:
        """Give a code for a request; where the browser is sent."""
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Redeem a code, once; None for a wrong code, verifier or client."""
        wanted = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or authorization != wanted or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return None
        now = int(time.time())
        claims = {"iss": self.url, "sub": "1", "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= self.claims | self.changes
        signer = self.signer or self.key
        token = jwt.encode(
            {"alg": "ES256", "kid": self.key.kid}, {n: v for n, v in claims.items() if v is not None}, signer
        )
        return {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 300, "id_token": token}

    def described(self) -> dict[str, str]:
        """Discovery."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }


@contextmanager
def running_provider(certificate: Path, key: Path) -> Iterator[OpenidProvider]:
    """Run one until the block ends, with a TLS certificate for 127.0.0.1."""
    provider = OpenidProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            match parts.path:
                case "/.well-known/openid-configuration":
                    self._say(200, provider.described())
                case "/keys":
                    self._say(200, {"keys": [provider.key.as_dict(private=False)]})
                case "/authorize":
                    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                    self.send_response(302)
                    self.send_header("Location", provider.authorize(asked))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                case _:
                    self._say(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            token = provider.token(form, self.headers.get("Authorization", ""))
            self._say(200, token) if token else self._say(400, {"error": "invalid_grant"})

        def _say(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def configure_provider(folder: ServiceFolder, provider: OpenidProvider, own_url: str, roles: Mapping[str, str]) -> None:
    """Have a service let people in whom the provider knows: roles of the service by roles of the provider."""
    write_secret(folder.path / "oidc-secret", CLIENT_SECRET.encode())
    named = "".join(f'{theirs} = "{ours}"\n' for theirs, ours in roles.items())
    with folder.config_file.open("a") as config:
        config.write(f"""
[operators.oidc]
issuer = "{provider.url}"
client_id = "{CLIENT_ID}"
client_secret_file = "oidc-secret"
own_url = "{own_url}"
ca = "keys/{TLS_CA_CERTIFICATE}"
[operators.oidc.roles]
{named}""")
