"""Whole boots of a box with an owner's data: opened for the workload that he has signed, with keys bound to him."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from sealwright_appliance.boot import BoxState
from sealwright_appliance.payloads import lease_volume_keys
from sealwright_appliance.status import PayloadState
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.domains.ownership import key_id
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.volume_key import key_check
from sealwright_policies.workloads import ReleaseWorkloads, WorkloadPlan
from sealwright_testing.domain_texts import domain_text, open_anywhere, parse
from sealwright_testing.evidence_factory import payload_fields, volume_key
from sealwright_testing.owners import RECORDS, owned, signed
from sealwright_testing.simulated_box import SimulatedVendor
from sealwright_testing.simulated_disk import Disk

ROOT_HASHES = {"cases": "d1" * 32, "tune": "a1" * 32, "stranger": "a2" * 32}
PLAN = WorkloadPlan(domain="training", reads=("medical", "cases"))
PLANS = ReleaseWorkloads(version=1, workloads={"tune": PLAN, "stranger": PLAN})
"""What the root says: it lets one run that the owner has not named."""
OWNED = parse(owned(open_anywhere(domain_text("records", more=RECORDS)))).domain
OWNER = key_id(OWNED)


def described(name: str, kind: PayloadKind, domain: str) -> dict[str, Any]:
    root_hash = ROOT_HASHES[name]
    key = volume_key(root_hash, OWNER if domain == OWNED.name else None)
    return payload_fields(root_hash) | {
        "payload_id": name,
        "kind": kind,
        "domain": domain,
        "partition_label": f"payload-{name}",
        "file_name": "",
        "key_check": key_check(key, bytes.fromhex(root_hash)),
    }


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    more = [
        described("cases", PayloadKind.DATA_SET, OWNED.name),
        described("stranger", PayloadKind.WORKLOAD, "training"),
        described("tune", PayloadKind.WORKLOAD, "training"),
    ]
    others = (parse(open_anywhere(domain_text(name))).domain for name in ("medical", "finance", "training"))
    word = signed(OWNED, {"tune": ROOT_HASHES["tune"]})
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"), (OWNED, *others), more, {OWNED.name: word})
    with made.serving():
        yield made


@pytest.fixture
def opened(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[PayloadState, str | None]]:
    """Activated, and started again: states of the payloads."""
    disk.box.paths.workload_plans.parent.mkdir(parents=True, exist_ok=True)
    disk.box.paths.workload_plans.write_bytes(document_bytes(PLANS))
    disk.boot(monkeypatch)
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.UNLOCKED, result
    return {one.payload_id: (one.state, one.code) for one in result.payloads if one.payload_id in ROOT_HASHES}


def test_an_owners_data_is_opened_for_the_workload_that_he_lets_run(
    disk: Disk, opened: dict[str, tuple[PayloadState, str | None]]
) -> None:
    closed = (PayloadState.CLOSED, RejectionCode.OWNER_UNSIGNED.value)
    assert opened == {"cases": (PayloadState.OPEN, None), "tune": (PayloadState.OPEN, None), "stranger": closed}
    keys = disk.box.vendor.volume_keys
    assert disk.keys[-2:] == [keys[ROOT_HASHES["tune"]], keys[ROOT_HASHES["cases"]]]
    assert keys[ROOT_HASHES["cases"]] == volume_key(ROOT_HASHES["cases"], OWNER)
    assert keys[ROOT_HASHES["stranger"]] not in disk.keys
    assert [path.name for path in disk.box.paths.workloads.iterdir()] == ["tune"]
    said = disk.console.read_text()
    assert "payload stranger: OWNER_UNSIGNED: The owner of domain records does not let stranger run." in said


@pytest.mark.usefixtures("opened")
def test_a_manifest_without_the_owner_makes_another_key(disk: Disk) -> None:
    """Such a one of the same release, as whoever has the manifest key and the lease would have it."""
    box = disk.box
    release = box.vendor.release
    domains = [one.model_copy(update={"signed": None}) for one in release.manifest.domains]
    bare = dataclasses.replace(release, manifest=release.manifest.model_copy(update={"domains": domains}))
    (lease,) = box.store.load_leases()
    box.boot()
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        increment_counter(tpm.device, tpm.counters.ticks)
        keys = [lease_volume_keys(tpm, one, box.store, lease) for one in (release, bare)]
    cases = ROOT_HASHES["cases"]
    assert [one.pop(cases) for one in keys] == [volume_key(cases, OWNER), volume_key(cases)]
    assert keys[0] == keys[1]
