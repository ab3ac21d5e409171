"""Stories of leases that were worth keeping: every moment of a renewal, and what the machine has found."""

from __future__ import annotations

import pytest

from sealwright_appliance.boot import BoxState
from sealwright_appliance.payloads import UnsealRefusedError, lease_volume_keys
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_licensing.records import LicenseStatus
from sealwright_testing.evidence_factory import volume_key
from sealwright_testing.leases.account import HOUR_S
from sealwright_testing.leases.scene import CONTACT_S, DAY_S, LEASE_DAYS, RTC_ERRORS_S, Scene
from sealwright_testing.leases.timed_box import End
from sealwright_testing.simulated_box import measure_boot


def steps_of_a_renewal(scene: Scene) -> list[str]:
    """What a run with one renewal passes by."""
    scene.run(CONTACT_S + HOUR_S / 2)
    return scene.box.fuse.passed


def test_a_power_cut_at_every_step_of_a_renewal(scene: Scene) -> None:
    """Also before and after every file and every count: then it boots without the service, and renews."""
    steps = steps_of_a_renewal(scene)
    first = steps.index("before /v1/renewals")
    assert steps[first:].count("after write_durably") >= 2  # lease, certificate
    assert "before remove_durably" in steps or len(scene.box.store.load_leases()) == 2
    assert "after _increment" in steps[first:]
    for step in range(first, len(steps) + 1):
        scene.run(CONTACT_S + HOUR_S / 2, cut_at=step)
        assert scene.run(HOUR_S / 4, connected=False) is BoxState.SERVING, (step, steps[step - 1], scene.box.reason)
    scene.must_serve()


def test_an_answer_that_gets_lost_is_given_again(scene: Scene) -> None:
    """As often as need be, and the lease counter moves once."""
    scene.run(CONTACT_S + 3 * HOUR_S, lost_replies=5)
    numbers = [lease.number for lease in scene.box.store.load_leases()]
    assert max(numbers) == min(numbers) + 1
    scene.must_serve()


def test_what_is_revoked_stays_so(scene: Scene) -> None:
    """The box closes within a contact interval, and nothing that an operator does brings a lease again."""
    scene.run(3 * CONTACT_S, meanwhile=[(CONTACT_S, lambda: scene.set_status(LicenseStatus.REVOKED))])
    assert scene.account.obtained_s < 3 * CONTACT_S
    for status in LicenseStatus:
        scene.set_status(status)
        assert scene.run(HOUR_S) is not BoxState.SERVING


def test_an_update_serves_after_one_contact_and_back_without(scene: Scene) -> None:
    """The first lease for a release comes at its first contact; then both can be booted without one."""
    scene.publish()
    scene.install(1)
    scene.must_serve()
    for number in (0, 1, 0):
        scene.install(number)
        assert scene.run(HOUR_S, connected=False) is BoxState.SERVING, scene.box.reason


def test_a_lease_is_stretched_as_far_as_stated(scene: Scene) -> None:
    """Cut off, calendar set back, the power cut before each tick: Clock stands still, ticks and resets do not."""
    scene.box.rtc_error_s = RTC_ERRORS_S[1]
    for _ in range(28):
        assert scene.run(59 * 60, connected=False) is BoxState.SERVING
    assert scene.account.obtained_s > LEASE_DAYS * DAY_S + 3 * HOUR_S
    scene.reset(24)
    assert scene.run(HOUR_S, connected=False) is BoxState.LOCKED
    assert "restarts" in scene.box.sentence


def test_after_a_clear_the_box_is_enrolled_anew(scene: Scene) -> None:
    """Nothing of before opens; a further code, a wiped disk, and it serves."""
    scene.run(HOUR_S)
    scene.clear()
    assert scene.run(HOUR_S) is BoxState.LOCKED
    scene.enroll_anew()
    scene.must_serve()


@pytest.mark.parametrize("which", ["ticks", "lease"])
def test_a_counter_that_is_defined_anew_goes_on_above(scene: Scene, which: str) -> None:
    """The old leases are dead or shorter; the service goes on with the box."""
    scene.count(which, 3)
    scene.run(HOUR_S / 2)
    scene.redefine(which)
    scene.run(HOUR_S / 2)
    scene.must_serve()


def test_a_lease_for_one_partition_opens_no_other(scene: Scene) -> None:
    """The signature is for a share of its own: laid over another partition the TPM refuses it."""
    scene.publish()
    scene.install(1)
    scene.must_serve()
    box = scene.box
    with box.powered(End.SHUTDOWN):
        measure_boot(box.paths, box.image.boot_events())
        (lease, *_) = [one for one in reversed(box.store.load_leases()) if len(one.partitions) == 2]
        first, second = lease.partitions
        swapped = lease.model_copy(
            update={"partitions": [first.model_copy(update={"signature": second.signature}), second]}
        )
        with open_provisioned_tpm(box.paths.tcti) as tpm:
            right = lease_volume_keys(tpm, box.image.release, box.store, lease)
            assert right == {one.partition_id: volume_key(one.partition_id) for one in lease.partitions}
            with pytest.raises(UnsealRefusedError):
                lease_volume_keys(tpm, box.image.release, box.store, swapped)


def test_a_service_whose_clock_is_a_day_behind_ends_no_lease_early(scene: Scene) -> None:
    """Found by the machine: its leases are of a day, so by the box's right calendar each was over as it came."""
    scene.must_serve()
    scene.set_service_back(DAY_S)
    scene.rest(7 * DAY_S)
    scene.must_serve()
    assert scene.run(4 * HOUR_S, connected=False) is BoxState.SERVING
