"""The part of ``config.toml`` that is about operators."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.sessions import SessionLimits

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


_Https = Annotated[str, StringConstraints(pattern=r"^https://[^\s?#]+$", max_length=255)]


class OidcConfig(BaseModel):
    """``[operators.oidc]``: an OpenID provider that vouches for people. Programs use tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: _Https
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    client_secret_file: str = ""
    """In the service's folder, mode 0600; empty: a public client."""
    own_url: _Https
    """How browsers reach this listener; the provider sends them back there."""
    ca: str = ""
    """PEM file in the service's folder; empty: the system's authorities."""
    scope: str = "openid profile"
    name_claim: str = "preferred_username"
    role_claim: str = "roles"
    roles: dict[str, Role]
    """Which values of the claim give which role; nothing else gives one."""


class OperatorsConfig(BaseModel):
    """``[operators]``: where the API and the console listen, and what they put up with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8445
    requests_per_minute: _Count = 600
    """Of one token or session, and of one address."""
    failed_logins_per_hour: _Count = 20
    """Of one address, after which it waits."""
    session_idle_s: Annotated[int, Field(ge=60, le=86_400)] = 1800
    session_absolute_s: Annotated[int, Field(ge=60, le=7 * 86_400)] = 12 * 3600

    oidc: OidcConfig | None = None

    @property
    def session_limits(self) -> SessionLimits:
        """How long sessions last."""
        return SessionLimits(self.session_idle_s, self.session_absolute_s)
