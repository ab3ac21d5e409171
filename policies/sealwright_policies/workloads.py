"""Which workloads a box may run, and on what (policies/spec/domain.md, 7).

``sealwright-image build`` puts the document at :data:`WORKLOADS_FILE` in the root, where it is measured with everything
else. What it does not name does not run, and a data set that none of its workloads reads is not opened.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sealwright_policies.wire.encoding import Document, Identifier, parse_json

WORKLOADS_FILE = "/usr/share/sealwright/workloads.json"
WORKLOADS_LIMIT = 64 * 1024
"""Bytes of the longest document."""
MOST = 64


class WorkloadPlan(Document):
    """One workload."""

    domain: Identifier
    """Where its results lie."""
    reads: Annotated[tuple[Identifier, ...], Field(max_length=MOST)]
    """Payload ids of the models and data sets that it sees."""
    results: bool
    """Whether it has a place for results."""


class ReleaseWorkloads(Document):
    """``workloads.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    workloads: Annotated[dict[Identifier, WorkloadPlan], Field(max_length=MOST)]
    """By payload id."""

    def readers(self, payload_id: str) -> frozenset[str]:
        """Payload ids of the workloads that read a payload."""
        return frozenset(name for name, plan in self.workloads.items() if payload_id in plan.reads)


NO_WORKLOADS = ReleaseWorkloads(version=1, workloads={})


def parse_workloads(content: bytes) -> ReleaseWorkloads:
    """Parse ``workloads.json``.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(ReleaseWorkloads, content, limit=WORKLOADS_LIMIT)
