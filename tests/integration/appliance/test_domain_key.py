"""The domain key: drawn once, opened by releases of the vendor alone, and no other is taken for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealwright_appliance.boot import BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.domain_key import LIMIT, StoredDomainKey, open_domain_key
from sealwright_appliance.lease_store import StoredShares
from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_appliance.tpm_unseal import seal_with_creation
from sealwright_policies.errors import OperationError
from sealwright_policies.tcg.policy import external_signing_key, policy_authorize
from sealwright_policies.wire.encoding import document_bytes, parse_json, pcr_bytes
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import domain_key_id, release_share_reference
from sealwright_policies.wire.state_approval import approve_release
from sealwright_testing.redteam.planted_modules import planted_module
from sealwright_testing.simulated_box import SimulatedVendor
from sealwright_testing.simulated_disk import Disk

KNOWN = b"known to whoever has the recovery key".ljust(64, b".")


def activate(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Two boots; the domain key, which the second has drawn."""
    disk.boot(monkeypatch)
    assert disk.domain_keys == []
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    disk.boot(monkeypatch)
    (key,) = disk.domain_keys
    assert len(key) == 64
    return key


@pytest.fixture
def opened(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A box that has its domain key."""
    activate(disk, monkeypatch)
    return disk


@pytest.fixture
def own_vendor(tmp_path: Path) -> Iterator[SimulatedVendor]:
    """Whose releases change."""
    made = SimulatedVendor(tmp_path / "vendor")
    with made.serving():
        yield made


def stored(disk: Disk) -> StoredDomainKey:
    return parse_json(StoredDomainKey, disk.box.paths.domain_key.read_bytes(), limit=LIMIT)


def told(disk: Disk) -> list[str]:
    """What the last boot said of domains."""
    lines = disk.console.read_text().splitlines()
    return [line.removeprefix("sealwright: domains: ") for line in lines if line.startswith("sealwright: domains: ")]


def closed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> str:
    """Boot; why the folders stay closed, while payloads open."""
    assert disk.boot(monkeypatch).state is BoxState.UNLOCKED
    assert disk.domain_keys == []
    (said,) = told(disk)
    return said


def drawn_anew(disk: Disk, monkeypatch: pytest.MonkeyPatch, before: bytes) -> str:
    """Boot; why what was there is not used. It is kept, and another key is drawn."""
    content = disk.box.paths.domain_key.read_bytes()
    disk.boot(monkeypatch)
    (key,) = disk.domain_keys
    assert key != before
    (said,) = told(disk)
    (aside,) = disk.box.paths.state.glob("domain-key.aside-*.json")
    assert aside.read_bytes() == content
    assert aside.name in said
    aside.unlink()
    return said


def test_it_is_drawn_once_and_opens_in_every_later_boot(opened: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    (key,) = opened.domain_keys
    before = opened.box.paths.domain_key.read_bytes()
    opened.boot(monkeypatch)
    assert opened.domain_keys == [key]
    assert told(opened) == []
    assert opened.box.paths.domain_key.read_bytes() == before


@pytest.mark.redteam
def test_nothing_unseals_it_behind_the_closing_of_pcr_15(opened: Disk) -> None:
    store, release, file = opened.box.store, opened.box.vendor.release, opened.box.paths.domain_key
    with open_provisioned_tpm(opened.box.paths.tcti) as tpm, pytest.raises(OperationError, match="PCR 15"):
        open_domain_key(
            file, tpm, release, store.domain_key_approvals(), srk_name=tpm.srk.public.name, say=print
        )  # fmt: skip


@pytest.mark.redteam
def test_the_tpm_refuses_it_to_whoever_asks_past_the_box(opened: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the intruder of the test image does, by the approval of the boot that made the key. Its control is the same
    question before PCR 15 is closed."""
    keys = planted_module("intruder.keys")
    monkeypatch.setattr(keys, "appliance", lambda: None)
    monkeypatch.setattr(keys, "STATE", opened.box.paths.state)
    monkeypatch.setattr("sealwright_appliance.paths.Paths", lambda: opened.box.paths)
    with pytest.raises(PermissionError, match="check the PCRs: TPM_RC_VALUE"):
        keys.domain_key_unsealed_again()
    opened.box.boot()
    assert keys.domain_key_unsealed_again() == "the key of domains"


@pytest.mark.redteam
def test_a_key_that_the_owner_has_sealed_is_not_taken(opened: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same policy in the same TPM, which anybody can do; by then PCR 15 is closed."""
    (key,), kept = opened.domain_keys, stored(opened)
    release_key = load_p256_public_key(opened.box.vendor.release.manifest.release_key)
    policy = policy_authorize(external_signing_key(release_key).name, release_share_reference(domain_key_id()))
    for pcrs in ((), pcr_bytes(kept.made_in.pcrs)):
        with open_provisioned_tpm(opened.box.paths.tcti) as tpm:
            sealed, creation = seal_with_creation(tpm.device, tpm.srk, KNOWN, policy, pcrs)
        own = {"public": sealed.public_2b, "private": sealed.private_2b, "creation_ticket": creation.ticket}
        changed = kept.model_copy(update=own | {"creation_data": creation.data})
        opened.box.paths.domain_key.write_bytes(document_bytes(changed))
        assert "not made at the unseal point" in drawn_anew(opened, monkeypatch, key)
        assert KNOWN not in opened.domain_keys
        for forged in (own, own | {"creation_ticket": kept.creation_ticket}):
            opened.box.paths.domain_key.write_bytes(document_bytes(kept.model_copy(update=forged)))
            assert "verify where an object was made" in closed(opened, monkeypatch)
        opened.box.paths.domain_key.write_bytes(document_bytes(kept))
        opened.boot(monkeypatch)
        assert opened.domain_keys == [key]


@pytest.mark.redteam
def test_another_approval_does_not_make_it_one(opened: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a partition is signed by the same key; it is over another reference."""
    (key,), kept = opened.domain_keys, stored(opened)
    shares = next(opened.box.paths.shares.glob("*/shares.json"))
    other = parse_json(StoredShares, shares.read_bytes(), limit=1 << 20).approvals[0]
    renamed = other.model_copy(update={"partition_id": kept.made_in.partition_id})
    for approval, why in ((other, "of something else"), (renamed, "has not approved this state")):
        opened.box.paths.domain_key.write_bytes(document_bytes(kept.model_copy(update={"made_in": approval})))
        assert why in drawn_anew(opened, monkeypatch, key)


def test_one_of_another_box_is_not_taken(opened: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = Disk.blank(opened.box.vendor, tmp_path / "other")
    try:
        activate(other, monkeypatch)
        opened.box.paths.domain_key.write_bytes(other.box.paths.domain_key.read_bytes())
    finally:
        other.box.tpm.kill()
    assert "load a sealed object" in closed(opened, monkeypatch)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 1000])
def test_a_damaged_file_is_put_aside(opened: Disk, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    (key,) = opened.domain_keys
    opened.box.paths.domain_key.write_bytes(content)
    drawn_anew(opened, monkeypatch, key)


def test_without_an_approval_the_folders_stay_closed(opened: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is damaged is none, and the next grant brings it."""
    (key,) = opened.domain_keys
    approvals = opened.box.paths.shares / "domain-key.json"
    for content in (b"", b"{"):
        approvals.write_bytes(content)
        assert "has not approved any boot" in closed(opened, monkeypatch)
        opened.box.measure(11, "ready")
        with opened.box.renewal() as renewal, open_provisioned_tpm(opened.box.paths.tcti) as tpm:
            renew(renewal, tpm)
        opened.boot(monkeypatch)
        assert opened.domain_keys == [key]


def test_it_stays_the_same_over_an_update(
    own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All partitions are others; the approvals for the new release come while the old one runs."""
    disk = Disk.blank(own_vendor, tmp_path / "box")
    try:
        key = activate(disk, monkeypatch)
        own_vendor.update("1.3.0")
        with disk.box.renewal() as renewal, open_provisioned_tpm(disk.box.paths.tcti) as tpm:
            disk.box.measure(11, "ready")
            renew(renewal, tpm)
        code = Claim(disk.box.paths.claim).code()
        assert code is not None
        pem = Claim(disk.box.paths.claim).opened_with(code).customer_key_pem
        customer = load_pem_private_key(pem.encode(), None)
        assert isinstance(customer, ec.EllipticCurvePrivateKey)
        disk.bind(approvals=[*disk.binding.approvals, *approve_release(own_vendor.release, customer)])
        disk.box.install()
        disk.boot(monkeypatch)
        assert disk.domain_keys == [key]
        assert (
            json.loads(disk.box.paths.domain_key.read_text())["made_in"]["release_id"] != own_vendor.release.release_id
        )
    finally:
        disk.box.tpm.kill()
