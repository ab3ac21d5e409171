"""Which payloads are opened for which workloads, and what is made for those that run."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

import pytest

from sealwright_appliance.agent_user import give_to_agent
from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_mounts
from sealwright_appliance.results import describe_workloads
from sealwright_appliance.status import PayloadState, PayloadStatus, WorkloadRun
from sealwright_appliance.workloads import load_workloads, obstacle_to, prepare_workloads, runnable
from sealwright_policies.appraisal.reference_values import Manifest, Payload, PayloadKind
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.mounts import NO_MOUNTS
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import NO_WORKLOADS, ReleaseWorkloads, WorkloadPlan
from sealwright_testing.evidence_factory import SyntheticBox, payload_fields
from sealwright_testing.owners import IMAGE, records, release_fields, signed

PLANS = ReleaseWorkloads(
    version=1,
    workloads={
        "lora": WorkloadPlan(domain="training", reads=("adapter", "medical", "records")),
        "count": WorkloadPlan(domain="counting", reads=("records",)),
    },
)


def payload(name: str, kind: PayloadKind, state: PayloadState = PayloadState.OPEN) -> PayloadStatus:
    return PayloadStatus(payload_id=name, kind=kind, domain="x", file_name="", state=state)


MANIFEST = SyntheticBox().release.manifest


def obstacle(
    name: str, kind: PayloadKind, plans: ReleaseWorkloads, opened: Collection[str], manifest: Manifest = MANIFEST
) -> Obstacle | None:
    payload = Payload(**payload_fields() | {"payload_id": name, "kind": kind})
    return obstacle_to(payload, manifest, plans, opened)


def test_a_model_needs_no_workload() -> None:
    assert obstacle("medical", PayloadKind.MODEL, NO_WORKLOADS, set()) is None


def test_a_workload_is_opened_where_the_root_lets_it_run() -> None:
    assert obstacle("lora", PayloadKind.WORKLOAD, PLANS, set()) is None
    refused = obstacle("stranger", PayloadKind.WORKLOAD, PLANS, set())
    assert refused is not None
    assert refused.code == BoxCode.NOT_RUN


def test_a_workload_is_opened_where_the_owners_of_what_it_reads_let_it_run() -> None:
    """The root lets two read the owner's cases, the owner one of them."""
    plan = WorkloadPlan(domain="training", reads=("cases",))
    plans = ReleaseWorkloads(version=1, workloads={"tune": plan, "stranger": plan})
    manifest = MANIFEST.model_copy(update=release_fields(signed(records(), {"tune": IMAGE})))
    assert obstacle("tune", PayloadKind.WORKLOAD, plans, set(), manifest) is None
    for kind in PayloadKind:  # whatever the manifest calls it
        refused = obstacle("stranger", kind, plans, set(), manifest)
        assert refused is not None
        assert (refused.code, refused.sentence) == (
            RejectionCode.OWNER_UNSIGNED,
            "The owner of domain records does not let stranger run.",
        )
    assert obstacle("cases", PayloadKind.DATA_SET, plans, set(), manifest) is not None


@pytest.mark.parametrize(
    ("opened", "opens"),
    [(set(), False), ({"medical"}, False), ({"stranger"}, False), ({"lora"}, True), ({"count", "medical"}, True)],
)
def test_a_data_set_is_opened_for_an_open_workload_that_reads_it(opened: set[str], opens: bool) -> None:
    refused = obstacle("records", PayloadKind.DATA_SET, PLANS, opened)
    assert (refused is None) == opens
    assert obstacle("others", PayloadKind.DATA_SET, PLANS, opened) is not None
    assert obstacle("records", PayloadKind.DATA_SET, NO_WORKLOADS, opened) is not None


def test_a_workload_runs_when_all_that_it_reads_and_the_release_has_is_open() -> None:
    names = {"lora": PayloadKind.WORKLOAD, "medical": PayloadKind.MODEL, "records": PayloadKind.DATA_SET}
    for states in itertools.product((PayloadState.OPEN, PayloadState.FAILED), repeat=3):
        payloads = [payload(name, kind, state) for (name, kind), state in zip(names.items(), states, strict=True)]
        runs = runnable(payloads, PLANS)
        assert runs == (["lora"] if set(states) == {PayloadState.OPEN} else [])


def test_what_runs_is_marked(tmp_path: Path) -> None:
    paths = Paths(root=tmp_path, agent_user=None)
    opened = [payload("lora", PayloadKind.WORKLOAD), payload("count", PayloadKind.WORKLOAD)]
    prepare_workloads(paths, opened, PLANS, {})
    assert sorted(path.name for path in paths.workloads.iterdir()) == ["count", "lora"]


def test_a_workload_without_a_place_for_results_is_not_started_and_the_customer_is_told(tmp_path: Path) -> None:
    paths = Paths(root=tmp_path, agent_user=None)
    opened = [payload("lora", PayloadKind.WORKLOAD), payload("count", PayloadKind.WORKLOAD)]
    prepare_workloads(paths, opened, PLANS, {"training": "There is no room."})
    assert [path.name for path in paths.workloads.iterdir()] == ["count"]
    described = [one.model_copy(update={"domain": PLANS.workloads[one.payload_id].domain}) for one in opened]
    seen = describe_workloads(paths, described, PLANS, print, {"training": "There is no room."})
    assert [(one.payload_id, one.run, one.sentence) for one in seen] == [
        ("lora", WorkloadRun.WAITING, "There is no room."),
        ("count", WorkloadRun.WAITING, ""),
    ]


def test_results_are_not_given_to_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr("shutil.chown", lambda path, *_, **__: given.append(str(path.relative_to(tmp_path))))
    paths = Paths(root=tmp_path, agent_user="somebody")
    (paths.results / "training").mkdir(parents=True)
    (paths.leases / "results").mkdir(parents=True)
    give_to_agent(paths)
    state = "var/lib/sealwright"
    assert [path for path in given if path.startswith(state)] == [state, f"{state}/leases", f"{state}/leases/results"]


def test_a_root_that_says_nothing_lets_none_run(tmp_path: Path) -> None:
    paths = Paths(root=tmp_path)
    assert load_workloads(paths) == NO_WORKLOADS
    paths.workload_plans.parent.mkdir(parents=True)
    paths.workload_plans.write_bytes(document_bytes(PLANS))
    assert load_workloads(paths) == PLANS
    paths.workload_plans.write_text('{"version": 2, "workloads": {}}')
    with pytest.raises(FormatError):
        load_workloads(paths)


def test_a_root_that_says_nothing_mounts_none(tmp_path: Path) -> None:
    paths = Paths(root=tmp_path)
    assert load_mounts(paths) == NO_MOUNTS
    paths.mount_options.parent.mkdir(parents=True)
    paths.mount_options.write_text('{"version": 1, "options": {"medical": ["ro", "exec"]}}')
    with pytest.raises(FormatError):
        load_mounts(paths)
