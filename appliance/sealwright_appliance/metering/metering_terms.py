"""What the domain of each model lets the licence service be told of its use (policies/spec/metering.md, 1).

What is not told is not counted, so it never lies on the disk, and the customer sees what the vendor will see.
"""

from __future__ import annotations

from collections.abc import Mapping

from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.metering.journal import BatchRow
from sealwright_policies.domains.model import Counter, MemberKind, Metering

NOTHING_TOLD = Metering()
"""Of a model that no domain of the release speaks of."""
ROW_COUNTERS = (Counter.REQUESTS, Counter.PROMPT_TOKENS, Counter.COMPLETION_TOKENS, Counter.BUSY_MS)
"""Of a row; the time of a lease is a model's."""


def load_terms(own: OwnDomains) -> dict[str, Metering]:
    """The terms of all models and adapters of the release, by payload id.

    Raises:
        OperationError: there is no manifest.
        FormatError, VerificationError: root and manifest do not agree.
    """
    served = (MemberKind.MODEL, MemberKind.ADAPTER)
    domains = [own.load(name) for name in own.names()]
    return {member.id: one.metering for one in domains for kind in served for member in one.members(kind)}


def told(row: BatchRow, terms: Mapping[str, Metering]) -> BatchRow | None:
    """A row with the counts that are told, the others zero; None if none is."""
    counters = terms.get(row.model, NOTHING_TOLD).counters
    if not set(ROW_COUNTERS) & set(counters):
        return None
    return row.model_copy(update={one.value: 0 for one in ROW_COUNTERS if one not in counters})
