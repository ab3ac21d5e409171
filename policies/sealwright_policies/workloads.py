"""Which workloads a box may run, and on what, and what becomes of their results (policies/spec/domain.md, 7).

``sealwright-image build`` puts the document at :data:`WORKLOADS_FILE` in the root, where it is measured with everything
else. What it does not name does not run, and a data set that none of its workloads reads is not opened.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sealwright_policies.wire.encoding import Document, Identifier, parse_json

WORKLOADS_FILE = "/usr/share/sealwright/workloads.json"
WORKLOADS_LIMIT = 64 * 1024
"""Bytes of the longest document."""
MOST = 64
METRICS_LIMIT = 4096
"""Bytes of the longest document of metrics."""
METRIC_MOST = 1e12
METRIC_DIGITS = 4
"""Significant digits of a number that is told: a number with all of its digits would carry a word of the data."""


class WorkloadPlan(Document):
    """One workload."""

    domain: Identifier
    """Where its results lie."""
    reads: Annotated[tuple[Identifier, ...], Field(max_length=MOST)]
    """Payload ids of the models and data sets that it sees."""
    files: Annotated[tuple[Identifier, ...], Field(max_length=MOST)] = ()
    """Domains whose data sets on the state volume it sees."""
    metrics: bool = False
    """Whether the box's customer may see the metrics among them."""


class AdapterPlan(Document):
    """An adapter that a domain serves once a workload of it has written it, or it came from another box."""

    domain: Identifier
    base: Identifier
    """Payload id of the model that it changes."""
    trainer: Identifier | None = None
    """Payload id of the workload that trains it on examples of the customer; None: a workload makes it by itself."""
    own: Annotated[int, Field(ge=0, le=MOST)] = 0
    """How many the customer may have trained."""
    days: Annotated[int, Field(ge=0, lt=2**16)] = 0
    """For how long one is kept."""


class ResultsPlan(Document):
    """The volume on which the workloads of a domain write."""

    mib: Annotated[int, Field(ge=1, lt=2**32)]
    days: Annotated[int, Field(ge=0, lt=2**16)]
    """For how long a file stays there."""
    adapters: Annotated[tuple[Identifier, ...], Field(max_length=MOST)] = ()
    """Member ids of adapters that the domain lets flow to another, once a workload has written them."""
    results: Annotated[tuple[Identifier, ...], Field(max_length=MOST)] = ()
    """Payload ids of the workloads whose results it lets flow."""


class ReleaseWorkloads(Document):
    """``workloads.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    workloads: Annotated[dict[Identifier, WorkloadPlan], Field(max_length=MOST)]
    """By payload id."""
    adapters: Annotated[dict[Identifier, AdapterPlan], Field(max_length=MOST)] = Field(default_factory=dict)
    """By member id."""
    results: Annotated[dict[Identifier, ResultsPlan], Field(max_length=MOST)] = Field(default_factory=dict)
    """By domain; what is not named has no place for results."""

    def readers(self, payload_id: str) -> frozenset[str]:
        """Payload ids of the workloads that read a payload."""
        return frozenset(name for name, plan in self.workloads.items() if payload_id in plan.reads)

    @property
    def trainers(self) -> frozenset[str]:
        """Payload ids of the workloads that train adapters on the customer's examples."""
        return frozenset(plan.trainer for plan in self.adapters.values() if plan.trainer is not None)


class Metric(StrEnum):
    """What a workload may tell of its run. A closed set: a name that it chose could say anything."""

    EXAMPLES = "examples"
    STEPS = "steps"
    SECONDS = "seconds"
    LOSS_BEFORE = "loss_before"
    LOSS_AFTER = "loss_after"
    ACCURACY_BEFORE = "accuracy_before"
    ACCURACY_AFTER = "accuracy_after"


Number = Annotated[float, Field(ge=-METRIC_MOST, le=METRIC_MOST, allow_inf_nan=False)]


class RunMetrics(Document):
    """``metrics.json`` among a domain's results."""

    version: Annotated[int, Field(ge=1, le=1)]
    metrics: dict[str, Number]

    def told(self) -> dict[str, float]:
        """What is shown: known names, numbers rounded."""
        return {name: float(f"{self.metrics[name]:.{METRIC_DIGITS}g}") for name in Metric if name in self.metrics}


NO_WORKLOADS = ReleaseWorkloads(version=1, workloads={})


def parse_workloads(content: bytes) -> ReleaseWorkloads:
    """Parse ``workloads.json``.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(ReleaseWorkloads, content, limit=WORKLOADS_LIMIT)


def parse_metrics(content: bytes) -> RunMetrics:
    """Parse ``metrics.json``, which a workload has written.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(RunMetrics, content, limit=METRICS_LIMIT)
