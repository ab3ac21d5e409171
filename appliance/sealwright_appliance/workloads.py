"""Workloads: programs of the vendor or of a data's owner that run on sealed payloads (policies/spec/domain.md, 7).

:mod:`.payloads` asks here which payloads are opened; :mod:`.unlock` has the places made, :mod:`.volume_service` starts
the units. What a workload sees is in its unit, compiled from its domain; its results lie on the state volume.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus, WorkloadRun
from sealwright_policies.appraisal.reference_values import Manifest, Payload, PayloadKind
from sealwright_policies.domains.ownership import require_owners
from sealwright_policies.errors import VerificationError
from sealwright_policies.workloads import ReleaseWorkloads

ALL_UNITS = "sealwright-workload@*.service"
"""Every workload's unit that runs, as systemctl takes it."""


def unit(payload_id: str) -> str:
    """The unit that runs a workload."""
    return f"sealwright-workload@{payload_id}.service"


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


def prepare_workloads(paths: Paths, payloads: Sequence[PayloadStatus], plans: ReleaseWorkloads) -> None:
    """Make the places for results, and a mark for each workload: what is marked is started.

    Raises:
        OSError: the disk refuses.
    """
    for name in runnable(payloads, plans):
        plan = plans.workloads[name]
        if plan.results:
            paths.results.mkdir(mode=0o700, exist_ok=True)
            place = paths.results / plan.domain
            place.mkdir(exist_ok=True)
            # systemd draws the workload's user; nobody else comes through the folder above.
            place.chmod(0o1777)
        write_durably(paths.workloads / name, b"")
