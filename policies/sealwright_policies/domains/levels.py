"""What each level allows at most (policies/spec/domain.md, 3).

The one place for ceilings. A level has those of the levels below it, too, where it does not have its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sealwright_policies.domains.limits import LIMITS, Limit
from sealwright_policies.domains.model import Level
from sealwright_policies.domains.orders import Excess
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.tpm_tier import TpmTier

CEILINGS: Final[Mapping[Level, Mapping[str, Any]]] = {
    Level.INTERNAL: {},
    Level.CONFIDENTIAL: {
        "retention.prompts_days": 30,
        "retention.results_days": 365,
        "retention.logs_days": 365,
    },
    Level.SEALED: {
        "open.tiers": (TpmTier.FIRMWARE, TpmTier.DISCRETE),
        "run.writable_code": False,
        "egress": (),
        "api.embeddings": False,
        "api.logprobs": 0,
        "api.pad_stream": True,
        "retention.prompts_days": 0,
        "retention.logs_days": 30,
        "metering.by_key": False,
    },
}


def ceilings(level: Level) -> dict[str, Any]:
    """All ceilings of a level by key."""
    found: dict[str, Any] = {}
    for one in Level:
        found |= CEILINGS[one]
        if one is level:
            break
    return found


def beyond_level(source: DomainFile) -> Iterator[tuple[Limit, Excess]]:
    """Where a domain is wider than its level."""
    for key, ceiling in ceilings(source.domain.level).items():
        limit = LIMITS[key]
        for excess in limit.order.beyond(limit.value(source.domain), ceiling):
            yield limit, excess
