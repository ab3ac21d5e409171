"""What a workload wrote becomes a file of its domain, where the domain lets it flow, and nothing else of it does."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sealwright_appliance.flows import domain_files
from sealwright_appliance.flows.domain_files import CONTENT, DomainFile
from sealwright_appliance.flows.made_files import LIMITS, keep_made_files
from sealwright_appliance.paths import Paths
from sealwright_policies.flows.content import FRAME_SIZE
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.workloads import ReleaseWorkloads, ResultsPlan
from sealwright_testing.laid_files import files_of, text_of

PLANS = ReleaseWorkloads(
    version=1, workloads={}, results={"training": ResultsPlan(mib=64, days=2, adapters=("tuned",), results=("lora",))}
)
WEIGHTS = b"GGUF" * (FRAME_SIZE // 3)
"""Two frames."""
AT = 1_800_000_000


class Box:
    """A box with results of a domain, and what it said."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root=root)
        self.said: list[str] = []
        self.results = self.paths.results / "training"
        self.results.mkdir(parents=True)
        self.domain_files = files_of(self.paths.domain_files, "training")

    def keep(self, plans: ReleaseWorkloads = PLANS) -> None:
        texts = {"training": text_of("training")}
        keep_made_files(self.paths, self.domain_files, plans, texts, now=AT, say=self.said.append)

    @property
    def files(self) -> list[DomainFile]:
        return self.domain_files.all_files()

    def content(self, file: DomainFile) -> bytes:
        return (self.paths.domain_files / file.domain / file.kind.value / file.name / CONTENT).read_bytes()


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_what_a_workload_wrote_is_a_file_of_its_domain_under_a_name_that_it_did_not_choose(box: Box) -> None:
    (box.results / "tuned.gguf").write_bytes(WEIGHTS)
    (box.results / "lora.results").write_bytes(b"area,0.91\n")
    box.keep()
    adapter, results = box.files
    assert box.content(adapter) == WEIGHTS
    assert adapter.name == f"tuned-{hashlib.sha256(WEIGHTS).hexdigest()[:16]}.gguf"
    assert (adapter.kind, adapter.size, adapter.at, adapter.flow_id) == (FileKind.ADAPTER, len(WEIGHTS), AT, None)
    assert (results.kind, results.name) == (FileKind.RESULTS, made_name("lora", FileKind.RESULTS, results.digest))
    assert box.content(results) == b"area,0.91\n"
    assert box.said == []


def test_it_is_made_once_and_another_one_beside_it(box: Box) -> None:
    source = box.results / "tuned.gguf"
    source.write_bytes(b"first")
    box.keep()
    box.keep()
    assert len(box.files) == 1
    source.write_bytes(b"second")
    box.keep()
    assert sorted(map(box.content, box.files)) == [b"first", b"second"]
    assert box.said == []


def test_what_the_domain_does_not_let_flow_stays_where_it_is(box: Box) -> None:
    for name in ("other.gguf", "tuned.results", "lora.metrics.json", "patients", "lora"):
        (box.results / name).write_bytes(b"patient 17")
    box.keep()
    (box.results / "tuned.gguf").write_bytes(b"GGUF")
    box.keep(PLANS.model_copy(update={"results": {"training": ResultsPlan(mib=64, days=2)}}))
    assert box.files == []
    assert list((box.paths.domain_files / "training").iterdir()) == []


def test_what_is_no_file_or_too_long_becomes_none(box: Box) -> None:
    place = box.results / "tuned.gguf"
    box.keep()
    assert box.said == []
    place.mkdir()
    box.keep()
    place.rmdir()
    place.symlink_to("/etc/passwd")
    box.keep()
    place.unlink()
    os.mkfifo(place)
    box.keep()
    place.unlink()
    with place.open("wb") as file:
        file.truncate(LIMITS[FileKind.ADAPTER] + 1)
    box.keep()
    assert [line.startswith("adapter tuned: ") for line in box.said] == [True] * 4
    assert box.files == []


def test_one_that_a_power_cut_interrupted_is_gone_on_with(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.results / "tuned.gguf").write_bytes(WEIGHTS)

    class PowerCutError(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    for module, name in ((domain_files.IncomingFile, "verify"), (domain_files.IncomingFile, "put_in_place")):
        with monkeypatch.context() as power:
            power.setattr(module, name, cut)
            with pytest.raises(PowerCutError):
                box.keep()
        assert box.files == []
    box.keep()
    (file,) = box.files
    assert box.content(file) == WEIGHTS


def test_leases_keep_their_room(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.results / "tuned.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(domain_files, "KEPT_FREE", 2**62)
    box.keep()
    assert box.files == []
    assert box.said == ["adapter tuned: The state volume has no room for 4 bytes."]
