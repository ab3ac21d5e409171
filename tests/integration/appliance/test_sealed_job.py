"""Whole boots of a box with sealed data sets and a workload: real TPM, real licence service, keys and their order."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance import unlock as unlock_module
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.files import write_durably
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.result_superblock import mark_of
from sealwright_appliance.result_volumes import MIB
from sealwright_appliance.run import run
from sealwright_appliance.status import BootResult, PayloadState
from sealwright_appliance.unlock import PCR_EXTEND
from sealwright_appliance.volumes import READ_ONLY_VIEW, READ_WRITE, make_results
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.domains.entrusted import entrusted_bytes
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.mounts import ReleaseMounts
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, ResultsPlan, WorkloadPlan
from sealwright_testing.domain_texts import domain_text, open_anywhere
from sealwright_testing.evidence_factory import payload_fields
from sealwright_testing.flows import domains
from sealwright_testing.laid_files import lay_in, text_of
from sealwright_testing.simulated_box import SimulatedVendor, mounts_of
from sealwright_testing.simulated_disk import Disk

PLANS = ReleaseWorkloads(
    version=1,
    workloads={
        "lora": WorkloadPlan(domain="training", reads=("medical", "records"), files=("records", "training")),
        "unused": WorkloadPlan(domain="training", reads=("unread",)),
    },
    results={"training": ResultsPlan(mib=4, days=0)},
)
LETS_IN = '\n[run]\nimports = ["data-set"]\n'
DOMAINS = domains(
    *(
        open_anywhere(domain_text(name, more=LETS_IN if name == "training" else ""))
        for name in ("medical", "finance", "training", "records")
    )
)
ROOT_HASHES = {"records": "d1" * 32, "unread": "d2" * 32, "lora": "a1" * 32}


def described(name: str, kind: PayloadKind) -> dict[str, Any]:
    return payload_fields(ROOT_HASHES[name]) | {
        "payload_id": name,
        "kind": kind,
        "domain": "training",
        "partition_label": f"payload-{name}",
        "file_name": "",
    }


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """The manifest lists data sets before the workload."""
    more = [
        described("records", PayloadKind.DATA_SET),
        described("unread", PayloadKind.DATA_SET),
        described("lora", PayloadKind.WORKLOAD),
    ]
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"), DOMAINS, more_payloads=more)
    with made.serving():
        yield made


def booted(disk: Disk, monkeypatch: pytest.MonkeyPatch, plans: ReleaseWorkloads | None, *options: str) -> BootResult:
    """Activated under a licence with these options, and started again."""
    if plans is not None:
        disk.box.paths.workload_plans.parent.mkdir(parents=True, exist_ok=True)
        disk.box.paths.workload_plans.write_bytes(document_bytes(plans))
    disk.boot(monkeypatch)
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue(*options).activation_code)
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.UNLOCKED, result
    return result


def states(result: BootResult) -> dict[str, tuple[PayloadState, str | None]]:
    return {one.payload_id: (one.state, one.code) for one in result.payloads if one.payload_id in ROOT_HASHES}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


OPEN = (PayloadState.OPEN, None)
NOT_RUN = (PayloadState.CLOSED, BoxCode.NOT_RUN.value)
NOT_LICENSED = (PayloadState.CLOSED, BoxCode.NOT_LICENSED.value)


def test_a_data_set_is_opened_behind_the_workload_that_reads_it(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    result = booted(disk, monkeypatch, PLANS)
    assert [one.payload_id for one in result.payloads] == ["medical", "finance", "records", "unread", "lora"]
    assert states(result) == {"records": OPEN, "unread": NOT_RUN, "lora": OPEN}
    keys = disk.box.vendor.volume_keys
    assert disk.keys[-2:] == [keys[ROOT_HASHES["lora"]], keys[ROOT_HASHES["records"]]]
    assert keys[ROOT_HASHES["unread"]] not in disk.keys
    options = {
        argv[-1].rpartition("/")[2]: argv[argv.index("--options") + 1] for argv in disk.seen if "--types" in argv
    }
    assert options["records"] == "ro,nodev,nosuid,noexec,nosymfollow"
    assert options["lora"] == "ro,nodev,nosuid"
    paths = disk.box.paths
    assert names(paths.workloads) == ["lora"]
    assert names(paths.engine_environments) == ["finance", "medical"]
    assert names(paths.results) == ["training", "training.ext4", "training.text.json"]
    assert (paths.results / "training.ext4").stat().st_size == 4 * 1024 * 1024
    programs = disk.programs()
    closed, (mounted,) = (
        programs.index(PCR_EXTEND.rpartition("/")[2]),
        [number for number, argv in enumerate(disk.seen) if argv[-1] == str(paths.results / "training")],
    )
    assert closed < mounted  # no file system of a workload's while anything could be unsealed
    assert disk.seen[mounted][:5] == ["mount", "--types", "ext4", "--options", f"loop,{READ_WRITE}"]
    assert stat.S_IMODE(paths.results.stat().st_mode) == 0o700
    assert "payload unread: NOT_RUN: No workload that may read it is open." in disk.console.read_text()


def test_data_sets_that_came_are_shown_once_nothing_unseals_and_before_they_are_the_agents(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted(disk, monkeypatch, PLANS)
    paths = disk.box.paths
    shown = [number for number, argv in enumerate(disk.seen) if READ_ONLY_VIEW in argv]
    assert disk.programs().index(PCR_EXTEND.rpartition("/")[2]) < shown[0]
    assert [disk.seen[number][-2:] for number in shown] == [
        [str(paths.domain_files / domain / "data-set"), str(paths.data_sets / domain)]
        for domain in ("records", "training")
    ]


def test_what_a_workload_wrote_becomes_a_file_before_there_is_an_agent(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once nothing unseals any more: it was written by who has read sealed data."""
    results = {"training": ResultsPlan(mib=4, days=0, adapters=("tuned",))}
    booted(disk, monkeypatch, PLANS.model_copy(update={"results": results}))
    paths = disk.box.paths
    (paths.results / "training/tuned.gguf").write_bytes(b"GGUF")
    seen: list[list[str]] = []

    def give(_: object) -> None:
        seen.extend([[one.name for one in DomainFiles.of_boot(paths, are_open=True).all_files()], disk.programs()])

    monkeypatch.setattr(unlock_module, "give_to_agent", give)
    disk.boot(monkeypatch)
    made, programs = seen
    assert made == [made_name("tuned", FileKind.ADAPTER, hashlib.sha256(b"GGUF").hexdigest())]
    assert PCR_EXTEND.rpartition("/")[2] in programs


def test_a_workload_does_not_run_without_data_sets_that_it_reads(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would train on nothing; who looks at the box's status learns why."""
    disk.missing = {str(disk.box.paths.data_sets / "records")}
    result = booted(disk, monkeypatch, PLANS)
    assert names(disk.box.paths.workloads) == []
    (workload,) = result.workloads
    assert "mount failed" in workload.sentence
    assert "sealwright: data sets: mount failed" in disk.console.read_text()


@pytest.mark.parametrize(
    ("plans", "partitions", "expected"),
    [
        (PLANS, ("medical", "records"), {"records": NOT_RUN, "unread": NOT_LICENSED, "lora": NOT_LICENSED}),
        (PLANS, ("medical", "lora"), {"records": NOT_LICENSED, "unread": NOT_LICENSED, "lora": OPEN}),
        (None, ("medical", "records", "lora"), {"records": NOT_RUN, "unread": NOT_LICENSED, "lora": NOT_RUN}),
    ],
)
def test_a_data_set_stays_closed_without_its_workload_and_a_workload_does_not_run_without_its_data(
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    plans: ReleaseWorkloads | None,
    partitions: tuple[str, ...],
    expected: dict[str, tuple[PayloadState, str | None]],
) -> None:
    options = [word for partition in partitions for word in ("--partition", partition)]
    assert states(booted(disk, monkeypatch, plans, *options)) == expected
    assert disk.box.vendor.volume_keys[ROOT_HASHES["records"]] not in disk.keys
    assert names(disk.box.paths.workloads) == []


def test_what_no_domain_says_how_to_mount_stays_closed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = mounts_of(disk.box.vendor.release.manifest.payloads)
    options = {name: options for name, options in mounts.options.items() if name != "records"}
    disk.box.paths.mount_options.write_bytes(document_bytes(ReleaseMounts(version=1, options=options)))
    assert states(booted(disk, monkeypatch, PLANS))["records"] == (PayloadState.CLOSED, BoxCode.UNLOCK_FAILED.value)
    assert disk.box.vendor.volume_keys[ROOT_HASHES["records"]] not in disk.keys
    assert names(disk.box.paths.workloads) == []


@pytest.mark.redteam
def test_nothing_is_read_of_folders_that_were_not_opened(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the recovery key lays adapters and data sets there, and keeps the box from putting them aside."""
    results = {"training": ResultsPlan(mib=4, days=0, adapters=("tuned",))}
    adapters = {"tuned": AdapterPlan(domain="training", base="medical")}
    booted(disk, monkeypatch, PLANS.model_copy(update={"results": results, "adapters": adapters}))
    paths = disk.box.paths
    files, now = DomainFiles.of_boot(paths, are_open=True), OwnDomains(paths).text("training")
    weights = made_name("tuned", FileKind.ADAPTER, hashlib.sha256(b"GGUF").hexdigest())
    lay_in(files, "training", weights, b"GGUF", kind=FileKind.ADAPTER, flow_id="0f" * 16, text=now)
    result = disk.boot(monkeypatch)
    assert result.domains_open
    assert "tuned" in [one.payload_id for one in result.payloads]  # the control
    (paths.results / "training/tuned.gguf").write_bytes(b"GGUF")

    def refused(*_: object) -> None:
        raise OperationError("The disk refuses.")

    monkeypatch.setattr(disk, "open_folders", refused)
    shutil.rmtree(paths.workloads)  # a tmpfs
    closed = disk.boot(monkeypatch)
    assert (closed.state, closed.domains_open) == (BoxState.UNLOCKED, False)
    assert "tuned" not in [one.payload_id for one in closed.payloads]
    assert [one.sentence for one in closed.workloads] == ["The disk refuses."]
    assert names(paths.workloads) == []
    assert not [argv for argv in disk.seen if READ_ONLY_VIEW in argv or str(paths.results / "training") in argv]
    assert "domains: The disk refuses." in disk.console.read_text()
    assert names(paths.domain_files / "training/adapter") == [weights]


NARROW = text_of("training", "\n[retention]\nresults_days = 1\n")
"""What a domain of an earlier release may have said: nobody opens what came under it as widely as DOMAINS lets."""


def test_what_came_under_another_text_of_its_domain_stays_closed_and_is_told(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data sets and adapters that came, and results that were written; what came under this release's is opened."""
    results = {"training": ResultsPlan(mib=4, days=0)}
    adapters = {"tuned": AdapterPlan(domain="training", base="medical")}
    booted(disk, monkeypatch, PLANS.model_copy(update={"results": results, "adapters": adapters}))
    paths = disk.box.paths
    files, now = DomainFiles.of_boot(paths, are_open=True), OwnDomains(paths).text("training")
    weights = made_name("tuned", FileKind.ADAPTER, hashlib.sha256(b"GGUF").hexdigest())
    lay_in(files, "training", weights, b"GGUF", kind=FileKind.ADAPTER, flow_id="0f" * 16, text=NARROW)
    lay_in(files, "training", "earlier.csv", b"rows", text=NARROW)
    lay_in(files, "training", "present.csv", b"rows", text=now)
    write_durably(paths.results / "training.text.json", entrusted_bytes(NARROW))
    mark = mark_of("training", entrusted_bytes(NARROW))
    run(make_results(paths.results / "training.ext4", 4 * MIB, mark.uuid, mark.label))

    result = disk.boot(monkeypatch)

    assert [one.name for one in files.all_files()] == ["present.csv"]
    assert names(paths.domain_files / "training/data-set") == ["present.csv"]
    assert "tuned" not in [one.payload_id for one in result.payloads]
    assert len(names(paths.results / ".closed")) == 2
    assert [(one.domain, one.what, one.code) for one in result.kept_closed] == [
        ("training", "2 files", BoxCode.DOMAIN_CHANGED),
        ("training", "results", BoxCode.DOMAIN_CHANGED),
    ]
    (line,) = [one for one in disk.console.read_text().splitlines() if "closed training: 2 files" in one]
    assert "DOMAIN_CHANGED: This release's domain is wider than when it came: open.from_version: 0, was" in line
    assert "It opens again under a release" in line
    write_durably(paths.results / "training.text.json", entrusted_bytes(now))
    assert [one.what for one in disk.boot(monkeypatch).kept_closed] == ["2 files", "results"]


def test_what_the_root_says_of_a_domain_and_the_manifest_does_not_opens_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted(disk, monkeypatch, PLANS)
    paths = disk.box.paths
    lay_in(
        DomainFiles.of_boot(paths, are_open=True),
        "training",
        "cohort.csv",
        b"rows",
        text=OwnDomains(paths).text("training"),
    )
    form = paths.domains / "training.json"
    form.write_bytes(form.read_bytes().replace(b'"engine":false', b'"engine":true'))
    result = disk.boot(monkeypatch)
    assert names(paths.domain_files / "training/data-set") == []
    assert [one.what for one in result.kept_closed] == ["1 file", "results"]
    (workload,) = result.workloads
    assert "What this release says of domain training cannot be read." in workload.sentence
