"""Changed firmware: denied, shown event by event, approved once, and pinned by the next evidence."""

from __future__ import annotations

import pytest

from sealwright_licensing.device_views import device_fields, device_view, device_words
from sealwright_licensing.firmware import firmware_digest
from sealwright_licensing.operations.devices import approve_firmware
from sealwright_licensing.records import DeviceFirmware
from sealwright_policies.errors import RejectionCode, UsageError
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import NOW, boot_events
from sealwright_testing.license_world import OPERATOR, grant


def firmware(box: EnrolledDevice) -> dict[str, object]:
    """What the operator is shown."""
    with box.world.store.read() as transaction:
        shown = device_fields(device_view(transaction, box.device.device_id))["firmware"]
    assert isinstance(shown, dict)
    return shown


def ask(box: EnrolledDevice, option_roms: int) -> bytes:
    """Renew with so many option ROMs in the machine."""
    events = boot_events(box.device.box.uki, box.device.box.keys, option_roms=option_roms)
    return box.ask(box.nonce(), events=events)


def test_the_operator_sees_what_changed_and_approves_it_once(box: EnrolledDevice) -> None:
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: ask(box, 3))
    shown = firmware(box)
    assert shown["pinned"] != shown["shown"]
    difference = shown["difference"]
    assert isinstance(difference, list)
    assert difference
    assert all(line.startswith(("+ PCR 2 ", "- PCR 2 ")) for line in difference)
    assert any("EV_EFI_BOOT_SERVICES_DRIVER" in line for line in difference)
    with box.world.store.read() as transaction:
        words = device_words(device_view(transaction, box.device.device_id))
    assert any("PCR 2 was" in line for line in words)

    approve_firmware(box.world.store, OPERATOR, box.device.device_id, str(shown["digest"]), now=NOW)
    assert grant(ask(box, 3)).leases
    assert firmware(box)["pinned"] == shown["shown"]
    assert (firmware(box)["approved"], "shown" in firmware(box)) == ({}, False)
    denied(RejectionCode.FIRMWARE_CHANGED, box.ask)


def test_until_it_is_shown_the_old_firmware_counts_as_well(box: EnrolledDevice) -> None:
    """An update that did not take leaves a box that renews, and the approval stands."""
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: ask(box, 3))
    approve_firmware(box.world.store, OPERATOR, box.device.device_id, str(firmware(box)["digest"]), now=NOW)
    assert grant(box.ask()).leases
    assert grant(ask(box, 3)).leases


def test_exactly_what_was_looked_at_is_approved(box: EnrolledDevice) -> None:
    """The device has shown something else meanwhile; the digest that the operator read does not approve that."""
    identity, store = box.device.device_id, box.world.store
    with pytest.raises(UsageError, match="no changed firmware"):
        approve_firmware(store, OPERATOR, identity, "00" * 32, now=NOW)
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: ask(box, 3))
    looked_at = str(firmware(box)["digest"])
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: ask(box, 4))
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: approve_firmware(store, OPERATOR, identity, looked_at, now=NOW))
    approve_firmware(store, OPERATOR, identity, str(firmware(box)["digest"]), now=NOW)
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: ask(box, 3))
    assert grant(ask(box, 4)).leases


def test_evidence_with_anything_else_wrong_shows_no_firmware(box: EnrolledDevice) -> None:
    """Its log would be nothing to go by."""
    box.pass_time(100)
    box.ask()
    box.device.ticks = 1
    denied(RejectionCode.ROLLED_BACK, lambda: ask(box, 3))
    with box.world.store.read() as transaction:
        (kept,) = transaction.find(DeviceFirmware)
    assert (kept.shown_pcrs, kept.shown_at) == ("{}", 0)


def test_a_digest_stands_for_all_three_values() -> None:
    values = {"0": "00" * 32, "2": "22" * 32, "3": "33" * 32}
    others = [values | {pcr: "44" * 32} for pcr in values]
    assert len({firmware_digest(one) for one in (values, *others)}) == 4
