"""A licence service with a fleet as an operator finds it on a bad day: for the console, and for requests at random."""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_licensing.config import load_config
from sealwright_licensing.console.usage import last_months
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.metering_records import MeteringAlarm, MeteringUsage
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_licensing.sequencer import Sequencer
from sealwright_policies.errors import RejectionCode
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import boot_events
from sealwright_testing.license_world import OPERATOR, LicenseWorld

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@dataclass
class Fleet:
    """A service with a healthy box, one with changed firmware, and one that was put back and is held."""

    world: LicenseWorld
    healthy: str
    changed: str
    held: str
    license_id: str
    tokens: dict[Role, str]


def make_fleet(world: LicenseWorld) -> Fleet:
    """Enrol and renew as boxes do; what of metering takes months is written as the service would store it."""
    license_, codes = world.issue(seats=3, note=f"Ward 3 {HOSTILE}")
    boxes = []
    for number, code in enumerate(codes):
        device = world.device(number)
        world.enroll(device, code)
        boxes.append(EnrolledDevice(world, license_, device, None))  # type: ignore[arg-type]
    healthy, changed, held = boxes
    world.now += 1
    events = boot_events(changed.device.box.uki, changed.device.box.keys, option_roms=3)
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: changed.ask(changed.nonce(), events=events))
    held.pass_time(100)
    held.ask(held.nonce())
    held.device.ticks = 1
    denied(RejectionCode.ROLLED_BACK, lambda: held.ask(held.nonce()))
    world.issue(product="other", days=12, note="病房 3")
    suspended, _ = world.issue(seats=2)
    suspend_license(world.store, OPERATOR, suspended.license_id, now=world.now)
    _meter(world, license_.license_id, healthy.device.device_id)
    Sequencer(world.store, load_log_keys(world.folder.keys), load_config(world.folder).service_id).run()
    tokens = {role: create_token(world.store, OPERATOR, role.value, role, now=world.now)[1] for role in Role}
    ids = (healthy.device.device_id, changed.device.device_id, held.device.device_id)
    return Fleet(world, *ids, license_.license_id, tokens)


def _meter(world: LicenseWorld, license_id: str, device_id: str) -> None:
    months = last_months(world.now, 6)
    with world.store.write() as transaction:
        for at, month in enumerate(months):
            for model, partition, factor in (("medical", "5a" * 32, 3), ("finance", "6b" * 32, 2)):
                number = factor * (at * 137 % 400 + 200)
                transaction.put(
                    MeteringUsage(license_id, month, month, device_id, partition, "key-a", False, model,
                                  number, number * 900, number * 350, number * 2000, number * 5000)
                )  # fmt: skip
        transaction.put(
            MeteringAlarm("a" * 32, device_id, license_id, "c0" * 16, 7, "METERING_GAP",
                          "receipts 5 to 6 are missing", world.now - 3600)
        )  # fmt: skip
