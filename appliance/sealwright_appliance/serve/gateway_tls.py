"""Where the gateway's certificate and key are, and at which address it listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PEER_PORT = 8444
"""For frames of a flow (policies/spec/domain-flow.md, 6)."""


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """Handed to what speaks to other boxes."""

    certificate: Path
    private_key: Path
    host: str = ""
    """Empty: every address, IPv4 and IPv6."""
    peer_port: int = PEER_PORT
    """0: any that is free."""
