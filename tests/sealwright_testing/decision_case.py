"""One vector of ``tests/vectors/decisions/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sealwright_policies.errors import RejectionCode as Code
from sealwright_testing.decision_scene import NONCE_KEY
from sealwright_testing.evidence_factory import NOW


@dataclass(frozen=True)
class Case:
    """One vector. ``message`` holds what differs from the scene's message."""

    section: str
    operation: str
    records: Sequence[object]
    code: Code | None = None
    message: dict[str, Any] = field(default_factory=dict)
    now: int = NOW
    nonce_key: bytes = NONCE_KEY
    expected: dict[str, Any] = field(default_factory=dict)
    is_logged: bool = True
    """Whether the releases of the records are in the service's log."""
