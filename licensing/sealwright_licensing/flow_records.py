"""What the service remembers of flows between boxes (spec/domain-flow.md, 9). Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportedFlow:
    """A record as one of the two boxes wrote it; its digest makes it count once."""

    device_id: str
    license_id: str
    digest: str
    sequence: int
    role: str
    """``sent`` or ``received``."""
    flow_id: str
    other_id: str
    """Device id of the other box."""
    source: str
    target: str
    """Domains."""
    form: str
    name: str
    file_digest: str
    size: int
    finding: str
    """Code of what is odd about it; empty if nothing is."""
    content: bytes
    received_at: int
