"""The part of ``config.toml`` that is about operators."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sealwright_licensing.operators.sessions import SessionLimits

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


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

    @property
    def session_limits(self) -> SessionLimits:
        """How long sessions last."""
        return SessionLimits(self.session_idle_s, self.session_absolute_s)
