"""TPMs that a deployment refuses, at the challenge, at the proof and at each renewal."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_licensing.config import ServiceFolder, load_config
from sealwright_licensing.tpm_floor import DeniedTpm, TpmFloor
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.license_world import LicenseWorld

MAKER, MODEL = "id:53574C54", "TestTPM"
FIRMWARE = 0x2020_0101_0000_0000
"""What the software device shows."""


def entry(**fields: object) -> TpmFloor:
    return TpmFloor((DeniedTpm.model_validate({"manufacturer": MAKER.lower(), "reason": "for a test"} | fields),))


@pytest.mark.parametrize("floor", [entry(), entry(model=MODEL)])
def test_a_maker_or_model_is_refused_at_the_challenge(tmp_path: Path, database: str, floor: TpmFloor) -> None:
    world = LicenseWorld.create(tmp_path / "service", database=database, floor=floor)
    _, (code,) = world.issue()
    with pytest.raises(VerificationError, match="for a test") as caught:
        world.enrollment.challenge(world.device().request(code), now=world.now)
    assert caught.value.code is RejectionCode.TPM_NOT_ALLOWED


def test_old_firmware_is_refused_at_the_proof(tmp_path: Path, database: str) -> None:
    world = LicenseWorld.create(tmp_path / "service", database=database, floor=entry(firmware_below=FIRMWARE + 1))
    _, (code,) = world.issue()
    with pytest.raises(VerificationError) as caught:
        world.enroll(world.device(), code)
    assert caught.value.code is RejectionCode.TPM_NOT_ALLOWED


def test_a_floor_that_came_later_is_enforced_at_the_next_renewal(world: LicenseWorld) -> None:
    license_, (code,) = world.issue()
    device = world.device()
    lease = verify_lease(world.enroll(device, code).leases[0], world.service)
    world.renewal._floor = entry(firmware_below=FIRMWARE + 1)
    with pytest.raises(VerificationError) as caught:
        world.renewal.renew(device.renewal(license_.license_id, lease.next_nonce), now=world.now)
    assert caught.value.code is RejectionCode.TPM_NOT_ALLOWED


@pytest.mark.parametrize(
    "floor", [entry(firmware_below=FIRMWARE), entry(model="Other"), entry(manufacturer="id:00000000")]
)
def test_others_are_not_refused(tmp_path: Path, database: str, floor: TpmFloor) -> None:
    world = LicenseWorld.create(tmp_path / "service", database=database, floor=floor)
    _, (code,) = world.issue()
    assert world.enroll(world.device(), code).leases


def test_entries_come_from_the_configuration(world: LicenseWorld) -> None:
    file = world.folder.config_file
    text = file.read_text()
    file.write_text(f'{text}[[denied_tpm]]\nmanufacturer = "{MAKER}"\nfirmware_below = 0x10\nreason = "old"\n')
    (denied,) = load_config(ServiceFolder(world.folder.path)).denied_tpm
    assert (denied.manufacturer, denied.firmware_below) == (MAKER, 16)
    file.write_text(f'{text}[[denied_tpm]]\nmanufacturer = "ACME"\nreason = "old"\n')
    with pytest.raises(UsageError, match=r"denied_tpm\.0\.manufacturer"):
        load_config(world.folder)
