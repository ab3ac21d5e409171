"""Renewal of a device that has been given several releases."""

from __future__ import annotations

import dataclasses

from sealwright_licensing.baselines import pcrs_json
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.evidence_factory import NOW, boot_events, quoted_values, userspace_events
from sealwright_testing.license_world import OPERATOR, grant, synthetic_box


def update(box: EnrolledDevice) -> tuple[str, str]:
    """Boot a newer release; returns the ids of both."""
    old = box.device.box.release.release_id
    updated = synthetic_box(product_version="1.3.0")
    box.world.import_release(updated)
    box.device.box = dataclasses.replace(updated, ak=box.device.ak)
    box.pass_time(DAY, resets=1)
    return old, updated.release.release_id


def leases(box: EnrolledDevice, reply: bytes) -> list[Lease]:
    return [verify_lease(token, box.world.service) for token in grant(reply).leases]


def test_shares_come_with_a_release_that_is_new_to_the_device_only(box: EnrolledDevice) -> None:
    """After an OS update the box attests the new release, gets its shares, and keeps a lease for the old one."""
    assert grant(box.ask()).shares == []
    box.device.increment()
    old, new = update(box)
    reply = box.ask(box.nonce())
    assert [lease.release_id for lease in leases(box, reply)] == [new, old]
    assert {lease.number for lease in leases(box, reply)} == {3}
    assert len(grant(reply).shares) == 1
    ways = len(box.device.box.release.manifest.measurements.boot_applications)
    assert len(grant(reply).release_approvals) == 2 * 2 * ways


def test_shares_are_given_again_until_the_next_number_is_proved(box: EnrolledDevice) -> None:
    """The reply with a new release's shares was lost, and the box asks with another nonce; then it has counted on."""
    update(box)
    for _ in range(2):
        assert len(grant(box.ask(box.nonce())).shares) == 1
    box.device.increment()
    assert grant(box.ask(box.nonce())).shares == []


def test_an_older_release_is_leased_for_the_present_firmware(box: EnrolledDevice) -> None:
    """Firmware was updated and approved: no lease may open under the one before, whatever release it is for."""
    box.device.increment()
    old, new = update(box)
    before = leases(box, box.ask(box.nonce()))
    box.device.increment()
    events = boot_events(box.device.box.uki, box.device.box.keys, option_roms=3)
    pinned = quoted_values(events, userspace_events())
    with box.world.store.write() as transaction:
        transaction.put(
            dataclasses.replace(box.stored(), pinned_pcrs=pcrs_json({pcr: pinned[pcr] for pcr in (0, 2, 3)}))
        )
    box.pass_time(DAY, resets=1)
    now = leases(box, box.ask(box.nonce(), events=events))
    assert [lease.release_id for lease in now] == [new, old]
    assert before[1].unseal_pcrs["2"] != pinned[2].hex()
    for lease in now:
        assert (lease.unseal_pcrs["0"], lease.unseal_pcrs["2"]) == (pinned[0].hex(), pinned[2].hex())
    assert now[1].unseal_pcrs["4"] == before[1].unseal_pcrs["4"]


def test_an_older_release_that_is_withdrawn_is_leased_no_more(box: EnrolledDevice) -> None:
    """Nor is a kept reply with a lease for it given again; the box asks anew."""
    old, new = update(box)
    nonce = box.nonce()
    box.ask(nonce)
    withdraw_release(box.world.store, OPERATOR, old, now=NOW)
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))
    assert [lease.release_id for lease in leases(box, box.ask(box.nonce()))] == [new]


def test_an_older_release_withdrawn_while_the_grant_is_made_is_leased_no_more(box: EnrolledDevice) -> None:
    old, new = update(box)
    box.ask(box.nonce())
    box.world.interrupt(lambda: withdraw_release(box.world.store, OPERATOR, old, now=NOW))
    assert [lease.release_id for lease in leases(box, box.ask(box.nonce()))] == [new]
