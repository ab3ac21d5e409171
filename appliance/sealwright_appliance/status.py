"""Documents in which the box speaks of itself: the result of a boot, and the running status. No secrets in either."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from sealwright_appliance.boot import BoxState
from sealwright_policies.appraisal.reference_values import Payload
from sealwright_policies.appraisal.release import Release
from sealwright_policies.wire.encoding import Document, Identifier, Sha256Hex
from sealwright_policies.wire.lease import Lease, LeaseWarning, LicenseTerms

BOOT_RESULT_LIMIT = 256 * 1024


class PayloadState(StrEnum):
    """What a payload does. A model serves also while its engine is out of memory: a request brings it back."""

    CLOSED = "closed"
    OPEN = "open"
    LOADING = "loading"
    SERVING = "serving"
    FAILED = "failed"


class PayloadStatus(Document):
    """One payload of the running release."""

    payload_id: Identifier
    kind: str
    domain: str
    file_name: str
    partition_id: Sha256Hex | None = None
    """Root hash of its verity tree."""
    memory_mib: int = 0
    """What its engine takes, if it has one."""
    base: str | None = None
    """The model that it changes, if it is an adapter."""
    context: int = 0
    """Tokens of the longest request that its engine takes, reply included."""
    state: PayloadState
    code: str | None = None
    sentence: str = ""


class ReleaseStatus(Document):
    """The running release."""

    product: str
    version: str
    release_id: Sha256Hex


class LeaseStatus(Document):
    """The lease under which the box is open."""

    lease_id: Identifier
    license_id: Identifier
    number: int
    issued_at: int
    expires_at: int
    """Seconds since the epoch."""
    clock_end_ms: int
    """TPM Clock."""
    max_ticks: int
    renew_after_s: int
    max_request_s: int
    license: LicenseTerms
    warnings: list[LeaseWarning]


class BudgetStatus(Document):
    """How long the box may still be used (:mod:`.budget`); times in seconds."""

    warning: str | None
    """Code of the nearest end, if it is warned of."""
    level_days: int | None
    """30, 7 or 1."""
    left_s: int | None
    """Until that end."""
    sentence: str
    license_left_s: int
    budget_left_s: int
    """Running time that the licence leaves this box."""
    lease_left_s: int


class WorkloadRun(StrEnum):
    """How far a workload has come in this boot."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class WorkloadStatus(Document):
    """What the customer sees of an open workload."""

    payload_id: Identifier
    domain: str
    run: WorkloadRun = WorkloadRun.WAITING
    sentence: str = ""
    """Why it does not run, or what was wrong when it ended; a bit at most of what it has done."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Of its runs in earlier boots, if its domain lets them be seen; by
    :class:`~sealwright_policies.workloads.Metric`."""


WHOLE = "all of it"
"""All that a domain has on the box, but for its payloads."""


class KeptClosed(Document):
    """What lies on the box and is not opened: its domain says something else than when it came, or does not open."""

    domain: str
    what: str
    """Files, results, or :data:`WHOLE`, of a domain that this box may not open."""
    code: str
    sentence: str


class BootResult(Document):
    """What :mod:`.unlock` hands on to agent and gateway."""

    state: BoxState
    code: str | None = None
    sentence: str
    at: int
    """Seconds since the epoch."""
    device_id: str | None = None
    release: ReleaseStatus | None = None
    payloads: list[PayloadStatus]
    lease: LeaseStatus | None = None
    tls_fingerprint: str | None = None
    state_volume_open: bool = False
    domains_open: bool = False
    """What domains have on the state volume. If not, whatever lies in its place is nobody's to read."""
    workloads: tuple[WorkloadStatus, ...] = ()
    kept_closed: tuple[KeptClosed, ...] = ()
    engine_room_mib: int = 0
    """Memory of all engines together."""
    ended_s: float | None = None
    """time.monotonic() when serving ended in this boot; it is the same in every process."""


class BoxStatus(Document):
    """``GET /status``."""

    state: BoxState
    code: str | None
    sentence: str
    since: int
    """Seconds since the epoch at which the state began."""
    device_id: str | None
    release: ReleaseStatus | None
    payloads: list[PayloadStatus]
    lease: LeaseStatus | None
    budget: BudgetStatus | None
    """None while nothing is open."""
    secrets_waiting: bool
    """The box is activated, and its customer has not acknowledged what was drawn for them."""
    renewal: str
    """Outcome of the last contact with the licence service, in words."""
    metering: str = ""
    """Outcome of the last metering report, in words."""
    extraction_alarms: int = 0
    """API keys whose requests look like the copying of a model; their names are the administrator's to see."""
    tls_fingerprint: str | None
    workloads: tuple[WorkloadStatus, ...] = ()
    kept_closed: tuple[KeptClosed, ...] = ()


def release_status(release: Release) -> ReleaseStatus:
    """What is shown of a release."""
    manifest = release.manifest
    return ReleaseStatus(product=manifest.product, version=manifest.product_version, release_id=release.release_id)


def payload_status(payload: Payload, state: PayloadState) -> PayloadStatus:
    """What is shown of a payload."""
    return PayloadStatus(
        payload_id=payload.payload_id,
        kind=payload.kind,
        domain=payload.domain,
        file_name=payload.file_name,
        partition_id=payload.verity.root_hash,
        state=state,
    )


def lease_status(lease: Lease) -> LeaseStatus:
    """What is shown of a lease."""
    return LeaseStatus(**{name: getattr(lease, name) for name in LeaseStatus.model_fields})
