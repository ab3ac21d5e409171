"""What is taken of the results of workloads, which may have been subverted by the data that they read."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.engines import open_models, placed, prepare_engines
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.results import ADAPTER_LIMIT, describe_workloads, lay_out_adapters
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.engines import EngineNeed, ReleaseEngines
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, WorkloadPlan
from sealwright_testing.laid_files import files_of, lay_in

PLANS = ReleaseWorkloads(
    version=1,
    workloads={"lora": WorkloadPlan(domain="training", reads=("medical",), metrics=True)},
    adapters={"tuned": AdapterPlan(domain="training", base="medical")},
)
METRICS = '{"version": 1, "metrics": {"loss_after": 0.123456, "examples": 2.0}}'


def payload(name: str, kind: PayloadKind, state: PayloadState = PayloadState.OPEN) -> PayloadStatus:
    return PayloadStatus(
        payload_id=name,
        kind=kind,
        domain="training",
        file_name="model.gguf" if kind is PayloadKind.MODEL else "",
        partition_id="5a" * 32,
        state=state,
    )


MODEL, WORKLOAD = payload("medical", PayloadKind.MODEL), payload("lora", PayloadKind.WORKLOAD)


class Box:
    """A box with results of a domain, and what it said."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root=root)
        self.said: list[str] = []
        self.results = self.paths.results / "training"
        self.results.mkdir(parents=True)
        self.files = files_of(self.paths.domain_files, "training")

    def adapters(self, model: PayloadStatus = MODEL, plans: ReleaseWorkloads = PLANS) -> list[PayloadStatus]:
        return lay_out_adapters(self.paths, self.files, [model, WORKLOAD], plans, self.said.append)

    def metrics(self, plans: ReleaseWorkloads = PLANS) -> dict[str, float]:
        (described,) = describe_workloads(self.paths, [MODEL, WORKLOAD], plans, self.said.append, {})
        return described.metrics


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_an_adapter_is_laid_where_its_engine_reads_it_and_served_with_its_model(box: Box) -> None:
    (box.results / "tuned.gguf").write_bytes(b"GGUF")
    (adapter,) = box.adapters()
    assert (adapter.payload_id, adapter.domain, adapter.partition_id) == ("tuned", "training", MODEL.partition_id)
    laid = box.paths.payloads / "tuned/adapter.gguf"
    assert laid.read_bytes() == b"GGUF"
    assert stat.S_IMODE(laid.stat().st_mode) == 0o444
    assert stat.S_IMODE(laid.parent.stat().st_mode) == 0o755
    served = open_models([MODEL, WORKLOAD, adapter])
    assert [one.payload_id for one in served] == ["medical", "tuned"]
    prepare_engines(box.paths, served, PLANS, 1024)
    lines = (box.paths.engine_environments / "tuned").read_text().splitlines()
    assert f"SEALWRIGHT_MODEL={box.paths.payloads}/medical/model.gguf" in lines
    assert f"SEALWRIGHT_ADAPTER=--lora {laid}" in lines
    assert "SEALWRIGHT_ADAPTER=" in (box.paths.engine_environments / "medical").read_text().splitlines()


def test_without_its_model_or_a_domain_that_serves_it_an_adapter_stays_where_it_is(box: Box) -> None:
    (box.results / "tuned.gguf").write_bytes(b"GGUF")
    assert box.adapters(payload("medical", PayloadKind.MODEL, PayloadState.CLOSED)) == []
    assert box.adapters(plans=PLANS.model_copy(update={"adapters": {}})) == []
    assert not box.paths.payloads.exists()


def came(box: Box, content: bytes, at: int = 0, name: str = "", **more: Any) -> Path:
    """An adapter that lies in the domain's files, as if from another box; its content."""
    digest = hashlib.sha256(content).hexdigest()
    fields: dict[str, Any] = {"kind": FileKind.ADAPTER, "flow_id": "0a" * 16, "at": at} | more
    file = lay_in(
        box.files, "training", name or made_name("tuned", FileKind.ADAPTER, digest), content, **fields,
    )  # fmt: skip
    return box.paths.domain_files / "training/adapter" / file.name / "content"


def laid(box: Box) -> bytes:
    return (box.paths.payloads / "tuned/adapter.gguf").read_bytes()


def test_an_adapter_that_came_from_another_box_is_served_and_the_latest_of_them(box: Box) -> None:
    came(box, b"GGUF old", at=1)
    came(box, b"GGUF new", at=3)
    came(box, b"GGUF middle", at=2)
    (adapter,) = box.adapters()
    assert (adapter.payload_id, adapter.domain, adapter.partition_id) == ("tuned", "training", MODEL.partition_id)
    assert laid(box) == b"GGUF new"
    assert box.adapters(payload("medical", PayloadKind.MODEL, PayloadState.CLOSED)) == []
    (box.results / "tuned.gguf").write_bytes(b"GGUF made here")
    assert len(box.adapters()) == 1
    assert laid(box) == b"GGUF made here"
    assert box.said == []


def test_what_was_made_for_another_member_or_did_not_come_from_a_box_is_not_served(box: Box) -> None:
    digest = hashlib.sha256(b"GGUF").hexdigest()
    came(box, b"GGUF", name=f"tuned-2-{digest[:16]}.gguf")
    came(box, b"GGUF", name="tuned.gguf")
    came(box, b"GGUF", name=f"tuned-{'0' * 16}.gguf")
    came(box, b"GGUF", kind=FileKind.RESULTS)
    came(box, b"GGUF", flow_id=None)
    assert box.adapters() == []
    assert box.said == []


def test_an_adapter_that_is_not_what_came_or_is_too_long_is_not_served(box: Box) -> None:
    content = came(box, b"GGUF")
    content.write_bytes(b"gguf")
    assert box.adapters() == []
    content.unlink()
    assert box.adapters() == []
    content.symlink_to("/etc/passwd")
    assert box.adapters() == []  # no file without a content of its own, and nothing to say
    content.unlink()
    with content.open("wb") as file:
        file.truncate(ADAPTER_LIMIT + 1)
    assert box.adapters() == []
    assert [line.startswith("adapter tuned: ") for line in box.said] == [True] * 2
    assert not (box.paths.payloads / "tuned").exists()


def test_what_is_no_file_or_too_long_is_no_adapter(box: Box) -> None:
    assert box.adapters() == []
    assert box.said == []
    place = box.results / "tuned.gguf"
    place.mkdir()
    assert box.adapters() == []
    place.rmdir()
    place.symlink_to("/etc/passwd")
    assert box.adapters() == []
    place.unlink()
    os.mkfifo(place)
    assert box.adapters() == []
    place.unlink()
    with place.open("wb") as file:
        file.truncate(ADAPTER_LIMIT + 1)
    assert box.adapters() == []
    assert [line.startswith("adapter tuned: ") for line in box.said] == [True] * 4


def test_the_customer_sees_known_numbers_and_no_more_of_their_digits(box: Box) -> None:
    assert box.metrics() == {}
    file = box.results / "lora.metrics.json"
    file.write_text(METRICS)
    assert box.metrics() == {"examples": 2.0, "loss_after": 0.1235}
    silent = PLANS.workloads["lora"].model_copy(update={"metrics": False})
    assert box.metrics(PLANS.model_copy(update={"workloads": {"lora": silent}})) == {}
    file.write_text('{"version": 1, "metrics": {"the patient is": 4711.0, "steps": 3.0}}')
    assert box.metrics() == {"steps": 3.0}
    assert box.said == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"version": 2, "metrics": {}}',
        '{"version": 1, "metrics": {"steps": "the patient"}}',
        '{"version": 1, "metrics": {"steps": NaN}}',
        '{"version": 1, "metrics": {"steps": 1e300}}',
        '{"version": 1, "metrics": {}, "note": "the patient"}',
        '{"version": 1, "metrics": {}}' + " " * 4096,
    ],
)
def test_of_malformed_metrics_nothing_is_told(box: Box, text: str) -> None:
    (box.results / "lora.metrics.json").write_text(text)
    assert box.metrics() == {}
    assert box.said == ["workload lora: its metrics are malformed."]


def test_the_customers_own_adapters_are_served_from_where_they_are_trained(box: Box) -> None:
    """An engine for all of them, which is not started with the box: there may be none."""
    plans = ReleaseWorkloads(
        version=1,
        workloads={"tuner": WorkloadPlan(domain="training", reads=("medical",))},
        adapters={"own": AdapterPlan(domain="training", base="medical", trainer="tuner", own=2)},
    )
    (own,) = box.adapters(plans=plans)
    assert (own.kind, own.base, own.state, own.partition_id) == (
        "own-adapters",
        "medical",
        PayloadState.OPEN,
        "5a" * 32,
    )
    need = EngineNeed(memory_mib=100, context=4096, token_bytes=0)
    write_durably(box.paths.engines, document_bytes(ReleaseEngines(version=1, models={"medical": need})))
    both = placed(box.paths, [MODEL, own], plans, 1000)
    assert [one.memory_mib for one in both] == [100, 100 + 2 * ADAPTER_LIMIT // 2**20]
    prepare_engines(box.paths, open_models(both), plans, 1000)
    assert [path.name for path in box.paths.engine_starts.iterdir()] == ["medical"]
    told = (box.paths.engine_environments / "own").read_text().splitlines()
    assert f"SEALWRIGHT_MODEL={box.paths.payloads}/medical/model.gguf" in told
    assert "SEALWRIGHT_ADAPTER=" in told
    assert "LLAMA_ARG_CACHE_RAM=0" in told  # what is kept there is found by tokens alone, whatever the adapter
    closed = payload("medical", PayloadKind.MODEL, PayloadState.CLOSED)
    assert box.adapters(closed, plans) == []
