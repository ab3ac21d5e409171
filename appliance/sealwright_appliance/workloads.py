"""Workloads: programs of the vendor or of a data's owner that run on sealed payloads (policies/spec/domain.md, 7).

:mod:`.payloads` asks here which payloads are opened; :mod:`.unlock` has the marks made, :mod:`.volume_service` starts
the units. What a workload sees is in its unit, compiled from its domain; where it writes is :mod:`.result_volumes`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus, WorkloadRun
from sealwright_policies.appraisal.reference_values import Manifest, Payload, PayloadKind
from sealwright_policies.domains.ownership import require_owners
from sealwright_policies.errors import VerificationError
from sealwright_policies.workloads import NO_WORKLOADS, WORKLOADS_LIMIT, ReleaseWorkloads, parse_workloads

ENDED = (WorkloadRun.DONE, WorkloadRun.FAILED)
ALL_UNITS = "sealwright-workload@*.service"
"""Every workload's unit that runs, as systemctl takes it."""

ALL_SOCKETS = "sealwright-workload@*.socket"
"""Likewise, of trainers that wait for examples."""


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """What is seen of a workload's run from outside."""

    run: WorkloadRun
    results_full: bool = False
    """It has ended, and the volume of its domain is full. While it runs nobody is told: it could speak by that."""


def unit(payload_id: str) -> str:
    """The unit that runs a workload."""
    return f"sealwright-workload@{payload_id}.service"


def started(payload_id: str, trainers: Collection[str]) -> str:
    """What is started for a workload's mark: itself, or the socket on which a trainer waits for examples."""
    return f"sealwright-workload@{payload_id}.socket" if payload_id in trainers else unit(payload_id)


def show(payload_id: str) -> list[str]:
    """The call whose output :func:`run_state` reads."""
    return ["systemctl", "show", "--property=ActiveState", "--property=SubState", unit(payload_id)]


def run_state(shown: str) -> WorkloadRun:
    """How far a workload has come, by its unit, which stays active when it has ended well (systemd.service(5))."""
    states = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    match states.get("ActiveState"), states.get("SubState"):
        case "failed", _:
            return WorkloadRun.FAILED
        case "active", "exited":
            return WorkloadRun.DONE
        case "active" | "activating", _:
            return WorkloadRun.RUNNING
        case _:
            return WorkloadRun.WAITING


def obstacle_to(
    payload: Payload, manifest: Manifest, plans: ReleaseWorkloads, opened: Collection[str]
) -> Obstacle | None:
    """Why a payload stays closed whatever the lease says; None if nothing speaks against opening it.

    Args:
        payload: of the release.
        manifest: verified, so that its workloads are signed by the owners who let them run.
        plans: what the verity root lets run.
        opened: payload ids that are open already; workloads are opened before data sets.
    """
    plan = plans.workloads.get(payload.payload_id)
    if plan is not None:  # whatever kind the manifest gives it: it would be run
        try:
            require_owners(manifest, payload.payload_id, plan)
        except VerificationError as refused:
            return Obstacle(refused.code, str(refused).removeprefix(f"{refused.code}: "))
    match payload.kind:
        case PayloadKind.MODEL:
            return None
        case PayloadKind.WORKLOAD:
            if plan is not None:
                return None
            return Obstacle(BoxCode.NOT_RUN, "No domain of this release lets it run.")
        case PayloadKind.DATA_SET:
            if not plans.readers(payload.payload_id).isdisjoint(opened):
                return None
            return Obstacle(BoxCode.NOT_RUN, "No workload that may read it is open.")


def runnable(payloads: Sequence[PayloadStatus], plans: ReleaseWorkloads) -> list[str]:
    """Open workloads for which all that they read is open, too; what is no payload of the release is not waited for."""
    opened = {one.payload_id for one in payloads if one.state is PayloadState.OPEN}
    closed = {one.payload_id for one in payloads} - opened
    return sorted(name for name, plan in plans.workloads.items() if name in opened and closed.isdisjoint(plan.reads))


def load_workloads(paths: Paths) -> ReleaseWorkloads:
    """Which workloads may run; none where the root says nothing.

    Raises:
        FormatError: it is malformed.
    """
    content = read_file(paths.workload_plans, WORKLOADS_LIMIT)
    return NO_WORKLOADS if content is None else parse_workloads(content)


def prepare_workloads(
    paths: Paths, payloads: Sequence[PayloadStatus], plans: ReleaseWorkloads, without_place: Mapping[str, str]
) -> None:
    """Make a mark for each workload: what is marked is started.

    Args:
        paths: of the box.
        payloads: with their states.
        plans: what the verity root lets run.
        without_place: domains whose workloads have no volume for results, or do not see the data sets that they read.

    Raises:
        OperationError: the disk refuses.
    """
    for name in runnable(payloads, plans):
        if plans.workloads[name].domain not in without_place:
            write_durably(paths.workloads / name, b"")
