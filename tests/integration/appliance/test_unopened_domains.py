"""Whole boots of a box that may not open a domain: what this has there stays closed, and opens once the box may again.

Real TPM, real licence service. Its payloads are the service's to judge; here it is what lies on the state volume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealwright_appliance.boot import BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.lease_store import DEVICE_CERTIFICATE
from sealwright_appliance.renewal import renew
from sealwright_appliance.status import WHOLE, BootResult
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_appliance.volumes import READ_ONLY_VIEW
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.device_certificates import issue_device_certificate
from sealwright_licensing.keys import load_signing_keys, new_p256_key
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.state_approval import approve_release
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, ResultsPlan, WorkloadPlan
from sealwright_testing.domain_texts import domain_text, open_anywhere, replaced
from sealwright_testing.evidence_factory import payload_fields
from sealwright_testing.flows import domains
from sealwright_testing.laid_files import lay_in
from sealwright_testing.simulated_box import SimulatedVendor
from sealwright_testing.simulated_disk import Disk

PLANS = ReleaseWorkloads(
    version=1,
    workloads={
        "reads": WorkloadPlan(domain="open", reads=("medical",), files=("training",)),
        "writes": WorkloadPlan(domain="training", reads=("medical",)),
    },
    adapters={
        "tuned": AdapterPlan(domain="training", base="medical"),
        "own": AdapterPlan(domain="training", base="medical", trainer="writes", own=1, days=1),
    },
    results={
        "training": ResultsPlan(mib=4, days=1, adapters=("made",)),
        "open": ResultsPlan(mib=4, days=1),
    },
)
TRAINING = open_anywhere(domain_text("training"))
NARROW = replaced(TRAINING, '"software", "firmware", "discrete"', '"software"').replace('"training"', '"narrow"')
OPEN = tuple(open_anywhere(domain_text(name)) for name in ("medical", "finance", "open"))
WEIGHTS = made_name("tuned", FileKind.ADAPTER, hashlib.sha256(b"GGUF").hexdigest())


def made_vendor(folder: Path, training: str) -> SimulatedVendor:
    """No payload of its release lies in the domain: nobody but the box judges it."""
    workloads = [
        payload_fields(root_hash)
        | {
            "payload_id": name,
            "kind": PayloadKind.WORKLOAD,
            "domain": "open",
            "partition_label": f"payload-{name}",
            "file_name": "",
        }
        for name, root_hash in (("reads", "a1" * 32), ("writes", "a2" * 32))
    ]
    return SimulatedVendor(folder, domains(*OPEN, NARROW, training), more_payloads=workloads)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """Whose licences decide on the domain."""
    text = replaced(TRAINING, "features = []", 'features = ["training"]')
    made = made_vendor(tmp_path_factory.mktemp("vendor"), text)
    with made.serving():
        yield made


def activated(disk: Disk, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    """Started twice, with something of everything in the domain; its licence."""
    paths = disk.box.paths
    paths.workload_plans.parent.mkdir(parents=True, exist_ok=True)
    paths.workload_plans.write_bytes(document_bytes(PLANS))
    disk.boot(monkeypatch)
    disk.box.measure(11, "ready")
    issued = disk.box.vendor.issue(*options)
    disk.box.enroll(issued.activation_code)
    started(disk, monkeypatch)
    paths, text = disk.box.paths, OwnDomains(disk.box.paths).text("training")
    files = DomainFiles.of_boot(paths, are_open=True)
    lay_in(files, "training", WEIGHTS, b"GGUF", kind=FileKind.ADAPTER, flow_id="0f" * 16, text=text)
    lay_in(files, "training", "cohort.csv", b"rows", flow_id="0f" * 16, text=text)
    return issued.license_id


def started(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> BootResult:
    """A start."""
    for mark in disk.box.paths.workloads.glob("*"):  # a tmpfs
        mark.unlink()
    result = disk.boot(monkeypatch)
    assert (result.state, result.domains_open) == (BoxState.UNLOCKED, True)
    return result


def renewed(disk: Disk) -> None:
    disk.box.measure(11, "ready")
    with disk.box.renewal() as renewal, open_provisioned_tpm(disk.box.paths.tcti) as tpm:
        renew(renewal, tpm)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def refusals(result: BootResult) -> list[tuple[str, str, str]]:
    return [(one.domain, one.what, one.code) for one in result.kept_closed]


def assert_open(disk: Disk, result: BootResult) -> None:
    """The control: all of it is shown, served or run."""
    paths = disk.box.paths
    assert refusals(result) == []
    assert {"tuned", "own"} <= {one.payload_id for one in result.payloads}
    assert {"tuned", "own"} <= set(names(paths.engine_environments))
    assert names(paths.domain_files / "training/data-set") == ["cohort.csv"]
    assert [argv[-2:] for argv in disk.seen if READ_ONLY_VIEW in argv] == [
        [str(paths.domain_files / "training/data-set"), str(paths.data_sets / "training")]
    ]
    assert [argv for argv in disk.seen if argv[-1] == str(paths.results / "training")]
    assert names(paths.workloads) == ["reads", "writes"]


def assert_closed(disk: Disk, result: BootResult, code: str, said: str) -> None:
    paths = disk.box.paths
    assert refusals(result) == [("training", WHOLE, code)]
    (line,) = [one for one in disk.console.read_text().splitlines() if "closed training" in one]
    assert f"closed training: {WHOLE}: {code}: " in line
    assert said in line
    assert not {"tuned", "own"} & {one.payload_id for one in result.payloads}
    assert "medical" in [one.payload_id for one in result.payloads]
    assert names(paths.domain_files / "training/data-set") == []
    assert names(paths.domain_files / "training/adapter") == []
    assert len(DomainFiles.of_boot(paths, are_open=True).closed()) == 2
    assert not [argv for argv in disk.seen if READ_ONLY_VIEW in argv or str(paths.results / "training") in argv]
    assert not (paths.results / "training.ext4").exists()
    assert len(names(paths.results / ".closed")) == 2
    assert names(paths.workloads) == []
    assert [one.payload_id for one in result.workloads if said in one.sentence] == ["reads", "writes"]


@pytest.mark.redteam
def test_without_the_feature_in_the_licence_nothing_of_the_domain_is_opened(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters from before, files, results and what reads them; with the feature they are there again."""
    license_id = activated(disk, monkeypatch, "--feature", "training")
    assert_open(disk, started(disk, monkeypatch))
    change = ("license", "change", disk.box.vendor.license_directory, license_id, "--feature")
    disk.box.vendor.command(*change, "none")
    renewed(disk)
    (disk.box.paths.results / "training/made.gguf").write_bytes(b"GGUF")
    for path in disk.box.paths.engine_environments.glob("*"):  # a tmpfs
        path.unlink()
    assert_closed(disk, started(disk, monkeypatch), "NOT_ENTITLED", "training demands of the licence: training.")
    assert not {"tuned", "own"} & set(names(disk.box.paths.engine_environments))
    disk.box.vendor.command(*change, "training")
    renewed(disk)
    (disk.box.paths.results / "training/made.gguf").unlink()
    assert_open(disk, started(disk, monkeypatch))
    assert names(disk.box.paths.results / ".closed") == []


@pytest.mark.redteam
def test_a_release_that_the_domain_does_not_open_for_opens_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no payload lies in it, by which a build or the licence service would have judged."""
    own = made_vendor(tmp_path / "vendor", replaced(TRAINING, '"1000"', '"1.3"'))
    with own.serving():
        disk = Disk.blank(own, tmp_path / "box")
        try:
            activated(disk, monkeypatch)
            assert_open(disk, started(disk, monkeypatch))
            own.update("1.3.0")
            renewed(disk)
            code = Claim(disk.box.paths.claim).code()
            assert code is not None
            customer = load_pem_private_key(
                Claim(disk.box.paths.claim).opened_with(code).customer_key_pem.encode(), None
            )
            assert isinstance(customer, ec.EllipticCurvePrivateKey)
            disk.bind(approvals=[*disk.binding.approvals, *approve_release(own.release, customer)])
            disk.box.install()
            result = started(disk, monkeypatch)
            assert refusals(result) == [("training", WHOLE, "RELEASE_NOT_ALLOWED")]
            assert "tuned" not in [one.payload_id for one in result.payloads]
            assert len(DomainFiles.of_boot(disk.box.paths, are_open=True).closed()) == 2
        finally:
            disk.box.tpm.kill()


@pytest.mark.redteam
@pytest.mark.parametrize("flaw", ["none", "garbage", "device", "authority", "ended"])
def test_the_kind_of_tpm_is_believed_of_this_boxs_certificate_alone(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    """Whoever has the recovery key lays another one there. A renewal brings the right one."""
    activated(disk, monkeypatch, "--feature", "training")
    assert refusals(started(disk, monkeypatch)) == []
    path = disk.box.paths.identity / DEVICE_CERTIFICATE
    if flaw == "none":
        path.unlink()
    else:
        path.write_text("garbage" if flaw == "garbage" else certificate(disk, flaw))
    result = started(disk, monkeypatch)
    assert refusals(result) == [("narrow", WHOLE, "TIER_NOT_ALLOWED")]
    assert "sealwright: device certificate: " in disk.console.read_text()
    assert "the device certificate does not say which this is" in result.kept_closed[0].sentence
    renewed(disk)
    assert refusals(started(disk, monkeypatch)) == []


def certificate(disk: Disk, flaw: str) -> str:
    keys = load_signing_keys(ServiceFolder(disk.box.vendor.license_directory).keys)
    if flaw == "authority":
        keys = replace(keys, device_ca=new_p256_key())
    identity = disk.box.store.load_identity()
    assert identity is not None
    issued_at = max(lease.issued_at for lease in disk.box.store.load_leases())
    return issue_device_certificate(
        keys, parse_public(identity.ak_public).key(), tier="software", license_id=identity.license_id,
        device_id="a" * 52 if flaw == "device" else identity.device_id,
        now=issued_at - 7200, expires_at=issued_at + (-1 if flaw == "ended" else 86_400),
    ).pem  # fmt: skip
