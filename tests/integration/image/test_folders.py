"""A product of a data set and a workload: both are sealed as models are; the code policy names the workload's image."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from sealwright_image.cli import main
from sealwright_image.contents import load_folder
from sealwright_image.context import Context
from sealwright_image.domains import load_domains, results_room
from sealwright_image.os_build import OsBuild, OsConfig
from sealwright_image.pipeline import build_image
from sealwright_image.progress import Progress
from sealwright_image.run import Tools
from sealwright_image.verity import verify_tree
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.domains.compiler.ipe import policy_text
from sealwright_policies.domains.compiler.journal import JOURNAL_FILE
from sealwright_policies.errors import UsageError
from sealwright_policies.mounts import parse_mounts
from sealwright_policies.workloads import WorkloadPlan, parse_workloads
from sealwright_testing.image_inputs import write_service, write_training
from sealwright_testing.small_os import build_small_os, cache_with_tools, small_os

from .conftest import Product
from .test_build import decrypt_partition

MOUNTED = {"dev", "proc", "run", "sys", "tmp", "var"}
"""Where the box mounts in a workload's root."""


@dataclasses.dataclass
class Recorder:
    """Builds the small OS, and keeps what was asked for."""

    asked: OsConfig | None = None

    def __call__(self, config: OsConfig, context: Context, output: Path) -> OsBuild:
        self.asked = config
        return build_small_os(config, context, output)


@pytest.fixture
def training(tmp_path: Path) -> Product:
    assert main(["keygen", str(tmp_path / "keys")]) == 0
    service = write_service(tmp_path / "license-service.json")
    (tmp_path / "LICENSE.txt").write_text("for research\n")
    write_training(tmp_path)
    with (tmp_path / "domains/medical.toml").open("a") as domain:
        domain.write('\n[[egress]]\nhost = "10.0.2.100"\nport = 7\n')
    return Product(tmp_path, service, cache_with_tools(tmp_path))


def test_a_data_set_and_a_workload_are_sealed_like_models(training: Product, tmp_path: Path) -> None:
    recorder, out = Recorder(), tmp_path / "out"
    source = dataclasses.replace(small_os(tmp_path), build=recorder)
    build_image(training.config, out, Progress(io.StringIO()), os_source=source)
    manifest = load_folder(out).release.manifest
    kinds = {payload.payload_id: payload.kind for payload in manifest.payloads}
    assert kinds == {"medical": PayloadKind.MODEL, "records": PayloadKind.DATA_SET, "lora": PayloadKind.WORKLOAD}
    for payload in manifest.payloads[1:]:
        plain, read = tmp_path / f"{payload.payload_id}.plain", tmp_path / f"{payload.payload_id}.read"
        decrypt_partition(training, out, payload, plain)
        verify_tree(Tools(), plain, payload.verity)
        Tools().run(["fsck.erofs", f"--extract={read}", plain])
        (name,) = [path.name for path in read.iterdir() if path.is_file()]
        assert {path.name for path in read.iterdir() if path.is_dir()} == (MOUNTED if name == "program" else set())
        assert (read / name).read_bytes() == (tmp_path / payload.payload_id / name).read_bytes()
        assert stat.S_IMODE((read / name).stat().st_mode) & 0o111 == (0o111 if name == "program" else 0)
        assert payload.file_name == ""
    assert b"1,2\n1,2\n" not in (out / "disk.raw").read_bytes()

    assert recorder.asked is not None
    (workload,) = [payload.verity.root_hash for payload in manifest.payloads if payload.kind is PayloadKind.WORKLOAD]
    assert recorder.asked.workload_root_hashes == (workload,)
    assert f"op=EXECUTE dmverity_roothash=sha256:{workload} action=ALLOW" in policy_text("ab" * 32, [workload])
    options = parse_mounts(recorder.asked.shared_files["mounts.json"]).options
    assert {name for name, said in options.items() if "noexec" in said} == {"medical", "records"}
    assert options.keys() == kinds.keys()
    assert b"10.0.2.100 . 7" in recorder.asked.domain_files["/usr/share/sealwright/nftables.d/medical.nft"]
    assert [str(one) for one in manifest.domains[0].egress] == ["10.0.2.100 port 7/tcp"]
    plans = parse_workloads(recorder.asked.shared_files["workloads.json"])
    expected = WorkloadPlan(domain="medical", reads=("medical", "records"), files=("medical",))
    assert plans.workloads == {"lora": expected}
    assert recorder.asked.domain_files[JOURNAL_FILE].endswith(b"[Journal]\nStorage=none\n")
    types = {one["name"]: one["type"] for one in json.loads((out / "sbom.json").read_text())["components"]}
    assert (types["records"], types["lora"]) == ("data", "application")
    shutil.rmtree(out)


def test_results_have_room_on_the_state_volume(training: Product) -> None:
    """Twice, with what the box needs there; else leases could not be stored, or none be made beside an old one."""
    (domain,) = training.config.domains
    text = domain.read_text()
    most = results_room(512) // 2
    for mib in (most, most + 1):
        domain.write_text(f"{text}\n[resources]\nresults_mib = {mib}\n")
        with pytest.raises(UsageError, match=f"declare {mib} MiB") if mib > most else nullcontext():
            load_domains(training.config)
