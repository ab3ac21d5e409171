"""The way of a key, from a licence service over HTTPS through a real TPM to the volume key, and every way it ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.payloads import UnsealedLease, UnsealRefusedError, unseal_stored_leases
from sealwright_appliance.renewal import Renewal, advance, keep_grant, renew, request_renewal
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_keys import SRK_HANDLES
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.device_certificates import issue_device_certificate
from sealwright_licensing.keys import load_signing_keys, new_p256_key
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.srk import srk_template
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.framing import UNLOCKED_WORD
from sealwright_policies.wire.lease import Lease, LeaseTerms, sign_lease
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor
from sealwright_testing.tpm_session import TpmSession

pytestmark = pytest.mark.redteam


def unseal(box: SimulatedBox) -> UnsealedLease:
    """What :mod:`sealwright_appliance.unlock` does at the unseal point, up to the volume keys."""
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        increment_counter(tpm.device, tpm.counters.ticks)
        return unseal_stored_leases(tpm, box.vendor.release, box.store)


def refusal(box: SimulatedBox) -> tuple[str, str]:
    """Code and sentence of the reason why nothing opens."""
    with pytest.raises(UnsealRefusedError) as caught:
        unseal(box)
    return caught.value.obstacles[0].code, caught.value.obstacles[0].sentence


def denial(box: SimulatedBox) -> DeniedError:
    """How the service refuses a renewal."""
    with (
        box.renewal() as renewal,
        open_provisioned_tpm(box.paths.tcti) as tpm,
        pytest.raises(DeniedError) as caught,
    ):
        renew(renewal, tpm)
    return caught.value


def stored_lease(box: SimulatedBox) -> Lease:
    """The box's one lease."""
    (lease,) = box.store.load_leases()
    return lease


def sign_anew(box: SimulatedBox, **changes: int) -> None:
    """Have the service's keys sign the stored lease with other terms, in its place."""
    held = stored_lease(box)
    keys = load_signing_keys(ServiceFolder(box.vendor.license_directory).keys)
    fields = {name: getattr(held, name) for name in LeaseTerms.model_fields} | changes
    partitions = {partition.partition_id: partition.payload_id for partition in held.partitions}
    box.store.store_leases([sign_lease(LeaseTerms(**fields), partitions, keys.lease_policy, keys.lease_document)])


def test_an_enrolled_box_derives_the_true_volume_keys(box: SimulatedBox) -> None:
    """Both shares unseal at the unseal point, and give the keys that the build encrypted with."""
    assert unseal(box).volume_keys == box.vendor.volume_keys


def test_it_does_so_again_and_again(box: SimulatedBox) -> None:
    """A lease opens the box at every boot of its time, also after a power cut."""
    for _ in range(2):
        box.boot()
        assert unseal(box).volume_keys == box.vendor.volume_keys


def test_after_pcr_15_is_closed_nothing_unseals(box: SimulatedBox) -> None:
    """Root on the running box cannot have the keys again."""
    unseal(box)
    box.measure(15, UNLOCKED_WORD)
    assert refusal(box)[0] == RejectionCode.SYSTEM_IDENTITY


@pytest.mark.parametrize(
    ("pcr", "code"),
    [
        (0, RejectionCode.FIRMWARE_CHANGED),
        (4, RejectionCode.BOOT_APPLICATION),
        (7, RejectionCode.SECURE_BOOT_KEYS),
        (11, RejectionCode.UKI_MISMATCH),
        (12, RejectionCode.KERNEL_COMMAND_LINE),
        (13, RejectionCode.EVENT_NOT_ALLOWED),
    ],
)
def test_a_different_boot_does_not_open(box: SimulatedBox, pcr: int, code: RejectionCode) -> None:
    """Whatever is measured beside the release keeps the keys sealed, and the reason names it."""
    box.extend(pcr, b"\x66" * 32)
    assert refusal(box)[0] == code


def test_a_lease_ends_with_the_tpm_clock(box: SimulatedBox) -> None:
    """The clock of the TPM decides, not the calendar."""
    with ESAPI(box.tpm.tcti) as esapi:
        esapi.clock_set(stored_lease(box).clock_end_ms + 1)
    code, sentence = refusal(box)
    assert code == RejectionCode.LEASE_EXPIRED
    assert "TPM's clock" in sentence


def test_a_lease_ends_with_its_number(box: SimulatedBox) -> None:
    """An increment of the lease counter, by whomever, ends every lease of the number before."""
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        increment_counter(tpm.device, tpm.counters.lease)
        assert not [lease for lease in box.store.load_leases() if lease.number == tpm.lease_number()]
    assert refusal(box)[0] == RejectionCode.LEASE_EXPIRED


def test_a_lease_ends_with_its_ticks(box: SimulatedBox) -> None:
    """Running time is counted in the TPM, whatever its clock says."""
    lease = stored_lease(box)
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        while tpm.reading().ticks <= lease.max_ticks:
            increment_counter(tpm.device, tpm.counters.ticks)
    code, sentence = refusal(box)
    assert code == RejectionCode.LEASE_EXPIRED
    assert "tick" in sentence


def test_a_lease_ends_with_its_boots(box: SimulatedBox) -> None:
    """Each reset of the TPM counts; one more than the lease allows is one too many."""
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        resets = tpm.device.read_clock().reset_count
    sign_anew(box, max_reset_count=resets)
    assert unseal(box).volume_keys == box.vendor.volume_keys
    box.off()
    box.boot()
    code, sentence = refusal(box)
    assert code == RejectionCode.LEASE_EXPIRED
    assert "restarts" in sentence


def test_nothing_is_salted_to_another_storage_key(box: SimulatedBox) -> None:
    """A storage key of the same template, but another one, is not the one of the lease."""
    with ESAPI(box.tpm.tcti) as esapi:
        session = TpmSession(esapi)
        esapi.evict_control(ESYS_TR.OWNER, esapi.tr_from_tpmpublic(SRK_HANDLES[0]), SRK_HANDLES[0])
        template = srk_template()
        handle, _ = session.primary(template[:-1] + b"\x01", ESYS_TR.OWNER)  # another `unique`: another key
        esapi.evict_control(ESYS_TR.OWNER, handle, SRK_HANDLES[0])
        session.flush(handle)
    assert refusal(box)[0] == RejectionCode.SRK_NAME_MISMATCH


def test_a_cleared_tpm_opens_nothing(box: SimulatedBox) -> None:
    """TPM2_Clear changes the storage seed: every share is lost with it, expired ones included."""
    with ESAPI(box.tpm.tcti) as esapi:
        esapi.clear(ESYS_TR.LOCKOUT)
    assert refusal(box)[0] in (RejectionCode.SRK_NAME_MISMATCH, RejectionCode.LEASE_EXPIRED)


def test_another_tpm_opens_nothing(box: SimulatedBox, vendor: SimulatedVendor, tmp_path: Path) -> None:
    """The disk in another machine of the same make stays closed."""
    other = SimulatedBox.manufacture(vendor, tmp_path / "other")
    shutil.copytree(box.paths.state, other.paths.state)
    other.boot()
    try:
        assert refusal(other)[0] == RejectionCode.SRK_NAME_MISMATCH
    finally:
        other.tpm.kill()


def test_an_edited_lease_is_no_lease(box: SimulatedBox) -> None:
    """A byte changed on the disk: the document is passed over, and there is no other."""
    (path,) = box.paths.leases.glob("*.jws")
    token = path.read_text()
    header, payload, signature = token.split(".")
    path.write_text(f"{header}.{payload[:-8]}{'A' * 8}.{signature}")
    assert box.store.load_leases() == []
    assert refusal(box)[0] == RejectionCode.LEASE_EXPIRED


def test_renewal_opens_under_the_next_number(connected_box: SimulatedBox) -> None:
    """After a renewal the old lease is dead, the new one opens, and the old is deleted with the next proof."""
    box = connected_box
    first = stored_lease(box)
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        second = renew(renewal, tpm)
        assert second is not None
        assert second.number == first.number + 1
        assert {lease.number for lease in box.store.load_leases()} == {first.number, second.number}
        third = renew(renewal, tpm)
        assert third is not None
    assert {lease.number for lease in box.store.load_leases()} == {second.number, third.number}
    box.boot()
    unsealed = unseal(box)
    assert unsealed.lease == third
    assert unsealed.volume_keys == box.vendor.volume_keys


def asked(renewal: Renewal, tpm: ProvisionedTpm) -> None:
    """The power fails when the service has answered and nothing is stored."""
    request_renewal(renewal, tpm)


def stored(renewal: Renewal, tpm: ProvisionedTpm) -> None:
    """The power fails between storing and incrementing."""
    keep_grant(renewal, tpm, request_renewal(renewal, tpm))


def incremented(renewal: Renewal, tpm: ProvisionedTpm) -> None:
    """The power fails right after incrementing."""
    keep_grant(renewal, tpm, request_renewal(renewal, tpm))
    advance(tpm)


@pytest.mark.parametrize("cut_after", [asked, stored, incremented])
def test_a_power_cut_in_a_renewal_locks_nobody_out(
    connected_box: SimulatedBox, cut_after: Callable[[Renewal, ProvisionedTpm], None]
) -> None:
    """kill -9 after each step, then a boot without the service; and the renewal can be done again afterwards."""
    box = connected_box
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        cut_after(renewal, tpm)
        box.tpm.kill()
    box.boot()
    assert unseal(box).volume_keys == box.vendor.volume_keys
    box.go_up()
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        assert renew(renewal, tpm) is not None
    box.boot()
    assert unseal(box).volume_keys == box.vendor.volume_keys


def test_a_stored_next_lease_opens_when_the_present_one_has_ended(connected_box: SimulatedBox) -> None:
    """Cut between storing and incrementing, and the old lease runs out meanwhile: the box takes up the next."""
    box = connected_box
    first = stored_lease(box)
    with ESAPI(box.tpm.tcti) as esapi:
        esapi.clock_set(first.clock_end_ms - 60_000)
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        stored(renewal, tpm)
    with ESAPI(box.tpm.tcti) as esapi:
        esapi.clock_set(first.clock_end_ms + 1)
    box.off()
    box.boot()
    assert unseal(box).lease.number == first.number + 1


def test_an_ended_lease_is_renewed_and_opens_again(connected_box: SimulatedBox) -> None:
    """A locked box can still show its state, and serves again after the next boot."""
    box = connected_box
    with ESAPI(box.tpm.tcti) as esapi:
        esapi.clock_set(stored_lease(box).clock_end_ms + 1)
    box.off()
    box.boot()
    assert refusal(box)[0] == RejectionCode.LEASE_EXPIRED
    box.go_up()
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        renew(renewal, tpm)
    box.boot()
    assert unseal(box).volume_keys == box.vendor.volume_keys


def test_a_revoked_licence_is_not_renewed(revoked_box: SimulatedBox) -> None:
    """The denial carries its code; the box keeps what it has until then."""
    with (
        revoked_box.renewal() as renewal,
        open_provisioned_tpm(revoked_box.paths.tcti) as tpm,
        pytest.raises(DeniedError) as caught,
    ):
        renew(renewal, tpm)
    assert caught.value.code == RejectionCode.REVOKED


def test_a_changed_boot_is_not_renewed(connected_box: SimulatedBox) -> None:
    """Something more was measured into PCR 12, and the log says so: the service names it."""
    box = connected_box
    extra = LoggedEvent(12, 0x0000000D, b"console=ttyS0 init=/bin/sh")
    box.boot(events=[*box.vendor.synthetic.boot_events(), extra])
    box.go_up()
    assert RejectionCode.KERNEL_COMMAND_LINE in {m["code"] for m in denial(box).problem.mismatches}


@pytest.mark.parametrize("flaw", ["authority", "device", "key"])
def test_a_grant_with_another_boxs_certificate_is_not_kept(connected_box: SimulatedBox, flaw: str) -> None:
    """What the box shows to third parties must speak for it, under the authority of its image."""
    keys = load_signing_keys(ServiceFolder(connected_box.vendor.license_directory).keys)
    if flaw == "authority":
        keys = replace(keys, device_ca=new_p256_key())
    with connected_box.renewal() as renewal, open_provisioned_tpm(connected_box.paths.tcti) as tpm:
        granted = request_renewal(renewal, tpm)
        identity = renewal.identity
        certificate = issue_device_certificate(
            keys,
            new_p256_key().public_key() if flaw == "key" else parse_public(identity.ak_public).key(),
            device_id="a" * 52 if flaw == "device" else identity.device_id,
            license_id=identity.license_id,
            tier="software",
            now=granted.service_time,
            expires_at=granted.service_time + 86_400,
        )
        before = connected_box.store.load_leases()
        with pytest.raises(VerificationError) as caught:
            keep_grant(renewal, tpm, granted.model_copy(update={"device_certificate": certificate.pem}))
        expected = RejectionCode.DOCUMENT_SIGNATURE if flaw == "authority" else RejectionCode.LEASE_MISMATCH
        assert caught.value.code is expected
        assert connected_box.store.load_leases() == before
