"""Rotation with real TPMs over HTTPS: boxes on the old image go on, boxes on the new one open under the new keys."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sealwright_appliance.payloads import UnsealedLease, UnsealRefusedError, unseal_stored_leases
from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.appraisal.release import Release
from sealwright_policies.wire.lease import Lease
from sealwright_testing.maker_ca import MakerCa, pem
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor, license_command

BOX_KEYS = ("lease-document", "lease-policy", "device-ca", "log", "tls-ca")
CUSTODIANS = ("custodian-lease-share", "custodian-release-share")


@dataclass
class Field:
    """A vendor, and a box that was activated before anything was rotated."""

    vendor: SimulatedVendor
    box: SimulatedBox

    def rotate(self, *roles: str) -> None:
        for role in roles:
            license_command("keys", "rotate", self.vendor.license_directory, role)


@pytest.fixture(scope="module")
def activated(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Off. Not to be changed: tests copy it."""
    vendor = SimulatedVendor(tmp_path_factory.mktemp("vendor"))
    box = SimulatedBox.manufacture(vendor, tmp_path_factory.mktemp("box") / "box")
    box.boot()
    box.go_up()
    with vendor.serving():
        box.enroll(vendor.issue().activation_code)
    box.off()
    return Field(vendor, box)


@pytest.fixture
def field(activated: Field, tmp_path: Path) -> Iterator[Field]:
    """Copies of the vendor and of the box, which is up."""
    vendor = activated.vendor.copy(tmp_path / "vendor")
    box = activated.box.copy(tmp_path / "box")
    box.vendor = vendor
    box.boot()
    yield Field(vendor, box)
    if box.tpm.process is not None:
        box.tpm.kill()


def unseal(box: SimulatedBox, release: Release) -> UnsealedLease:
    """What a box does at the unseal point."""
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        increment_counter(tpm.device, tpm.counters.ticks)
        return unseal_stored_leases(tpm, release, box.store)


def keys_of(field: Field, release: Release) -> dict[str, bytes]:
    """What the build encrypted the release's partitions with."""
    partitions = {payload.verity.root_hash for payload in release.manifest.payloads}
    return {part: key for part, key in field.vendor.volume_keys.items() if part in partitions}


def renewed(box: SimulatedBox) -> Lease:
    """Renew as the box does."""
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        lease = renew(renewal, tpm)
    assert lease is not None
    return lease


def test_a_box_on_the_old_image_goes_on_through_every_rotation(field: Field) -> None:
    """Each key that its image knows, and both custodians; it renews and opens with what it has."""
    box, release = field.box, field.vendor.release
    before = box.store.load_leases()[-1].number
    field.rotate(*BOX_KEYS, *CUSTODIANS, "tls-server", "nonce")
    assert box.service != field.vendor.service
    box.go_up()
    with field.vendor.serving():
        assert renewed(box).number == before + 1
        assert renewed(box).number == before + 2
    box.boot()
    assert unseal(box, release).volume_keys == field.vendor.volume_keys


def test_a_box_on_a_new_image_opens_under_the_new_keys_alone(field: Field) -> None:
    """New lease, device and TLS keys, and a new release key; the TPM opens both shares under their Names.

    Then the old image, started once more, renews by the keys that it knows, and opens.
    """
    box, old, old_image = field.box, field.vendor.release, field.vendor.synthetic
    old_root = {path: path.read_bytes() for path in (box.paths.service, box.paths.manifest_key, box.paths.release_key)}
    field.rotate(*BOX_KEYS, *CUSTODIANS)
    field.vendor.update("2.0", new_release_key=True)
    box.install()
    box.boot()
    with pytest.raises(UnsealRefusedError):
        unseal(box, field.vendor.release)
    box.go_up()
    with field.vendor.serving():
        lease = renewed(box)
    assert lease.release_id == field.vendor.release.release_id != old.release_id
    box.boot()
    assert unseal(box, field.vendor.release).volume_keys == keys_of(field, field.vendor.release)
    assert field.vendor.release.manifest.release_key != old.manifest.release_key
    for path, content in old_root.items():
        path.write_bytes(content)
    field.vendor.synthetic = old_image
    with pytest.raises(UnsealRefusedError):
        unseal(box, old)
    box.go_up()
    with field.vendor.serving():
        assert renewed(box).release_id == old.release_id
    box.boot()
    assert unseal(box, old).volume_keys == keys_of(field, old)


def test_shares_of_the_old_release_key_do_not_open_under_the_new_one(field: Field) -> None:
    """The object of share B is bound to the Name of the key that the old manifest names."""
    field.vendor.update("2.0", new_release_key=True)
    with open_provisioned_tpm(field.box.paths.tcti) as tpm, pytest.raises(UnsealRefusedError):
        unseal_stored_leases(tpm, field.vendor.release, field.box.store)


def test_boxes_of_both_tls_authorities_are_served_by_one_chain(field: Field) -> None:
    """The old authority certifies the new one; and a stranger's authority is trusted by neither."""
    old = field.box.service.ca
    field.rotate("tls-ca")
    new = field.vendor.service.ca
    assert old != new
    license_command("keys", "renew-certificate", field.vendor.license_directory)
    with field.vendor.serving():
        for ca in (old, new):
            context = ssl.create_default_context(cadata=ca)
            with httpx.Client(verify=context) as client:
                assert client.get(f"{field.vendor.service.url}/readyz").status_code == 200
        stranger = ssl.create_default_context(cadata=pem(MakerCa().root).decode())
        with httpx.Client(verify=stranger) as client, pytest.raises(httpx.ConnectError):
            client.get(f"{field.vendor.service.url}/readyz")
