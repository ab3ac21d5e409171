"""What a licence covers, and a TPM that was copied, with real TPMs and the real service over HTTPS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tpm2_pytss import ESAPI

from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.payloads import UnsealRefusedError, unseal_stored_leases
from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.keys import load_signing_keys
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import LeaseTerms, sign_lease
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor, license_command, new_enrolled_box

HOUR_MS = 3_600_000


def unsealed(box: SimulatedBox) -> set[str]:
    """Partitions whose volume keys this boot can have."""
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        return set(unseal_stored_leases(tpm, box.vendor.release, box.store).volume_keys)


def renewal(box: SimulatedBox) -> str:
    """Renew as the box does; the code."""
    with box.renewal() as asked, open_provisioned_tpm(box.paths.tcti) as tpm:
        try:
            renew(asked, tpm)
        except DeniedError as error:
            return error.code
    return "ok"


def shown(vendor: SimulatedVendor, device_id: str) -> dict[str, object]:
    """What the service says of a device."""
    printed = license_command("device", "show", vendor.license_directory, device_id, "--json")
    found: dict[str, object] = json.loads(printed)
    return found


def test_a_box_opens_what_its_licence_covers_and_later_what_it_has_come_to_cover(
    vendor: SimulatedVendor, tmp_path: Path
) -> None:
    """The other partition has no share on the box until then, and no lease."""
    medical, finance = (payload.verity.root_hash for payload in vendor.release.manifest.payloads)
    box = new_enrolled_box(vendor, tmp_path / "box", "--domain", "finance")
    assert box.store.load_shares(medical) is None
    box.boot()
    assert unsealed(box) == {finance}
    box.go_up()
    (lease,) = box.store.load_leases()
    license_command("license", "change", vendor.license_directory, lease.license_id, "--domain", "all")
    assert renewal(box) == "ok"
    box.boot()
    assert unsealed(box) == {medical, finance}
    box.tpm.kill()


def test_a_lease_that_lists_what_is_not_of_its_release_is_refused_whole(box: SimulatedBox) -> None:
    """Even if the service's own keys have signed it: the other partitions of it stay closed too."""
    (held,) = box.store.load_leases()
    keys = load_signing_keys(ServiceFolder(box.vendor.license_directory).keys)
    fields = {name: getattr(held, name) for name in LeaseTerms.model_fields}
    known = {partition.partition_id: partition.payload_id for partition in held.partitions}
    for foreign in ({"ab" * 32: "medical"}, {held.partitions[0].partition_id: "other"}):
        token = sign_lease(LeaseTerms(**fields), known | foreign, keys.lease_policy, keys.lease_document)
        box.store.store_leases([token])
        with pytest.raises(UnsealRefusedError) as caught:
            unsealed(box)
        assert caught.value.obstacles[0].code == RejectionCode.LEASE_MISMATCH


def test_a_copied_tpm_is_noticed_and_the_operator_decides(vendor: SimulatedVendor, tmp_path: Path) -> None:
    """Two software TPMs of one state: the one behind is held, the other is found to go on, and one is chosen."""
    first = new_enrolled_box(vendor, tmp_path / "first")
    device_id = first.store.load_leases()[0].device_id
    first.off()
    second = first.copy(tmp_path / "second")
    for box in (first, second):
        box.boot()
        box.go_up()
    with ESAPI(first.tpm.tcti) as esapi:
        esapi.clock_set(esapi.read_clock().clockInfo.clock + HOUR_MS)
    assert renewal(first) == "ok"
    assert renewal(second) == RejectionCode.CLOCK_WENT_BACK
    assert renewal(first) == RejectionCode.DEVICE_CLONED
    told = shown(vendor, device_id)
    histories = told["histories"]
    assert isinstance(histories, list)
    assert {one["history"] for one in histories} == {1, 2}
    resume = ("device", "resume", vendor.license_directory, device_id)
    with pytest.raises(AssertionError, match="two histories"):
        license_command(*resume)
    license_command(*resume, "--history", "1")
    assert renewal(first) == "ok"
    assert renewal(second) == RejectionCode.CLOCK_WENT_BACK
    for box in (first, second):
        box.tpm.kill()
