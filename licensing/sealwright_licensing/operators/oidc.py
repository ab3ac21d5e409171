"""Login through an OpenID provider (policies/spec/operator-api.md, 4): authorisation code with PKCE, by Authlib.

Nothing is stored between the two steps: state, nonce and PKCE verifier are digests of a secret that the browser keeps
in a cookie, so a code that somebody else obtained, or that was meant for another login, opens nothing here.
"""

from __future__ import annotations

import hmac
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from sealwright_custody.secret_file import read_secret
from sealwright_licensing.operators.config import OidcConfig
from sealwright_licensing.operators.errors import forbidden, unauthenticated
from sealwright_licensing.operators.principals import Principal, PrincipalKind
from sealwright_licensing.operators.roles import Role
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.framing import framed_digest

try:  # the library that Authlib takes: httpx' successor where it is installed
    import httpx2 as http
except ImportError:
    import httpx as http  # type: ignore[no-redef]

LOGIN_COOKIE = "__Host-sealwright-login"
LOGIN_S = 600
CALLBACK = "/api/v1/session/oidc/callback"
_ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA"]
_LEEWAY_S = 60
_TIMEOUT_S = 10
_STRONGEST_FIRST = (Role.OPERATOR, Role.AUDITOR, Role.READ_ONLY)


@dataclass(frozen=True, slots=True)
class OidcLogin:
    """Logins through one provider."""

    config: OidcConfig
    folder: Path
    """Of the service; files of the configuration are relative to it."""

    def begin(self) -> tuple[str, str]:
        """Where the browser is sent, and the secret that it keeps.

        Raises:
            OperationError: the provider does not answer.
        """
        secret = secrets.token_urlsafe(32)
        with self._client() as client:
            provider = self._provider(client)
            url, _ = client.create_authorization_url(
                provider["authorization_endpoint"],
                state=_derived("state", secret),
                nonce=_derived("nonce", secret),
                code_verifier=_derived("verifier", secret),
            )
        return str(url), secret

    def finish(self, secret: str, parameters: Mapping[str, str], *, now: int) -> Principal:
        """Who has logged in.

        Args:
            secret: of the cookie.
            parameters: with which the provider sent the browser back.

        Raises:
            OperatorError: UNAUTHENTICATED: not this login, or the provider did not vouch; FORBIDDEN: without a role.
            OperationError: the provider does not answer.
        """
        if not hmac.compare_digest(parameters.get("state", "").encode(), _derived("state", secret).encode()):
            raise unauthenticated("This is not the login that this browser began; begin again.")
        if "code" not in parameters:
            raise unauthenticated("The provider let nobody in.")
        claims = self._claims(parameters["code"], secret, now)
        role = self._role(claims.get(self.config.role_claim))
        name = claims.get(self.config.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= 64 or not name.isprintable():
            raise unauthenticated(f"The provider gives no {self.config.name_claim}.")
        return Principal(name, role, PrincipalKind.OIDC)

    def _claims(self, code: str, secret: str, now: int) -> Mapping[str, Any]:
        from authlib.common.errors import AuthlibBaseError  # noqa: PLC0415 - an extra
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415

        with self._client() as client:
            provider = self._provider(client)
            try:
                token = client.fetch_token(
                    provider["token_endpoint"], code=code, code_verifier=_derived("verifier", secret)
                )
                keys = KeySet.import_key_set(cast(KeySetSerialization, self._get(client, provider["jwks_uri"])))
                decoded = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS)
                claims = CodeIDToken(
                    decoded.claims,
                    decoded.header,
                    {"iss": {"value": self.config.issuer}, "aud": {"value": self.config.client_id}},
                    {"nonce": _derived("nonce", secret), "client_id": self.config.client_id,
                     "access_token": token.get("access_token")},
                )  # fmt: skip
                claims.validate(now, _LEEWAY_S)
            except http.HTTPError as error:
                raise _unreachable() from error
            except (AuthlibBaseError, JoseError, KeyError, ValueError) as error:
                raise unauthenticated("The provider's answer does not vouch for anybody.") from error
            if "nonce" not in claims:
                raise unauthenticated("The provider's answer is not for this login.")
        return dict(claims)

    def _role(self, claimed: object) -> Role:
        values = claimed if isinstance(claimed, list) else [claimed]
        granted = {self.config.roles[one] for one in values if isinstance(one, str) and one in self.config.roles}
        for role in _STRONGEST_FIRST:
            if role in granted:
                return role
        raise forbidden("The provider gives you no role here; ask who runs it.")

    def _provider(self, client: Any) -> dict[str, str]:
        found = self._get(client, f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if found.get("issuer") != self.config.issuer or any(
            not str(found.get(name, "")).startswith("https://") for name in wanted
        ):
            raise OperationError(
                "The OpenID provider describes itself otherwise than config.toml.", cure="Compare them."
            )
        return {name: str(found[name]) for name in wanted}

    def _get(self, client: Any, url: str) -> dict[str, Any]:
        try:
            answer = client.request("GET", url, withhold_token=True).raise_for_status().json()
        except (http.HTTPError, ValueError) as error:
            raise _unreachable() from error
        if not isinstance(answer, dict):
            raise _unreachable()
        return answer

    def _client(self) -> Any:
        from authlib.integrations.httpx_client import OAuth2Client  # noqa: PLC0415 - an extra

        ca = self.folder / self.config.ca if self.config.ca else None
        secret_file = self.folder / self.config.client_secret_file if self.config.client_secret_file else None
        return OAuth2Client(
            self.config.client_id,
            read_secret(secret_file).decode("ascii").strip() if secret_file else None,
            token_endpoint_auth_method="client_secret_basic" if secret_file else "none",
            scope=self.config.scope,
            redirect_uri=f"{self.config.own_url}{CALLBACK}",
            code_challenge_method="S256",
            verify=ssl.create_default_context(cafile=str(ca) if ca else None),
            timeout=_TIMEOUT_S,
        )


def _unreachable() -> OperationError:
    return OperationError("The OpenID provider does not answer as one.", cure="Check the issuer; ask again later.")


def _derived(name: str, secret: str) -> str:
    return framed_digest(f"sealwright/v1/oidc-{name}", secret.encode("utf-8", "replace")).hex()
