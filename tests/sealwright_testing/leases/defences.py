"""What holds a lease together, one defence at a time: a story that needs it, and the code without it.

Each story is true of the code as it is, and breaks a promise once its defence is taken out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tpm2_pytss.constants import TPM2_EO

from sealwright_appliance import lease_keeper, tpm_unseal
from sealwright_appliance.boot import BoxState
from sealwright_appliance.lease_calendar import LeaseCalendar
from sealwright_appliance.lease_keeper import LeaseKeeper
from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.license_client import ServiceUnreachableError
from sealwright_licensing import baselines, clock_histories, enrollment_basis, leases, renewal, retirement
from sealwright_licensing.records import DeviceStatus, LicenseStatus
from sealwright_licensing.service_time import ServiceClock
from sealwright_policies.tcg.policy import Operation, TimeInfoOffset, policy_counter_timer, policy_nv
from sealwright_policies.wire import lease as lease_document
from sealwright_testing.leases.account import HOUR_S, require
from sealwright_testing.leases.direct_client import DirectClient
from sealwright_testing.leases.scene import DAY_S, LICENSE_DAYS, RTC_ERRORS_S, Scene
from sealwright_testing.leases.timed_box import End

Story = Callable[[Scene], None]
Change = tuple[Any, str, Any]


@dataclass(frozen=True)
class Defence:
    """A story, and what to replace to take the defence out."""

    story: Story
    changes: tuple[Change, ...]

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Without it."""
        with ExitStack() as stack:
            for where, name, other in self.changes:
                stack.enter_context(patch.object(where, name, other))
            yield


def begin(scene: Scene) -> None:
    """A lease of the code as it is in this test, and a box that has opened under it."""
    scene.run(HOUR_S / 2)
    scene.must_serve()


def old_leases_are_dead(scene: Scene) -> None:
    """Copies of leases with earlier numbers open nothing."""
    begin(scene)
    scene.keep_disk()
    scene.run(7 * HOUR_S)
    scene.merge_disk(0)
    scene.pry()


def clock_ends_a_lease(scene: Scene) -> None:
    """Clock, set forward."""
    begin(scene)
    scene.set_clock(26 * HOUR_S, End.SHUTDOWN)
    scene.run(HOUR_S, connected=False)


def resets_end_a_lease(scene: Scene) -> None:
    """One more than it allows."""
    begin(scene)
    scene.reset(55)
    scene.run(HOUR_S, connected=False)


def ticks_end_a_lease(scene: Scene) -> None:
    """Counted up."""
    begin(scene)
    scene.count("ticks", 110)
    scene.run(HOUR_S, connected=False)


def every_hour_is_counted(scene: Scene) -> None:
    """In the TPM, while it runs."""
    begin(scene)
    scene.run(6 * HOUR_S, connected=False)


def a_running_lease_ends(scene: Scene) -> None:
    """By the box itself; nothing else closes what is open."""
    begin(scene)
    scene.run(32 * HOUR_S, connected=False)


def old_leases_are_deleted(scene: Scene) -> None:
    """After two renewals the leases before them are gone from the disk."""
    begin(scene)
    (first, *_) = scene.box.store.load_leases()
    scene.run(13 * HOUR_S)
    require(first not in scene.box.store.load_leases(), "a lease that was replaced twice is still on the disk")


def an_enrolment_that_ends_is_charged(scene: Scene) -> None:
    """With all that was granted."""
    begin(scene)
    scene.run(5 * HOUR_S)
    scene.enroll_anew()
    scene.must_serve()


def a_suspended_licence_grants_nothing(scene: Scene) -> None:
    """And the box stops at its next contact."""
    begin(scene)
    scene.set_status(LicenseStatus.SUSPENDED)
    state = scene.run(7 * HOUR_S)
    require(state is BoxState.ENDED, f"a box under a suspended licence is {state}")
    scene.set_status(LicenseStatus.ACTIVE)
    scene.must_serve()


def a_tpm_put_back_is_held_and_charged(scene: Scene) -> None:
    """Its contact is refused; what was out counts as used; then the operator lets it go on."""
    begin(scene)
    scene.keep_tpm()
    scene.run(7 * HOUR_S)
    before = scene.account.sold
    scene.put_tpm_back(0)
    scene.run(HOUR_S)
    device = scene.account.device()
    assert device is not None
    require(device.status is DeviceStatus.HELD, f"a device whose TPM was put back is {device.status}")
    require(scene.account.sold > before + 90, f"{scene.account.sold - before} ticks were charged for it")


def no_lease_beyond_the_plan(scene: Scene) -> None:
    """Resets and ticks are what the lease's time needs."""
    scene.run(7 * HOUR_S)


def a_calendar_in_2099_locks_nobody_out(scene: Scene) -> None:
    """A fresh lease would be over at once."""
    scene.box.rtc_error_s = RTC_ERRORS_S[-1]
    scene.must_serve()
    state = scene.run(5 * HOUR_S, connected=False)
    require(state is BoxState.SERVING, f"a box whose calendar says 2099 is {state}")


def an_older_disk_heals(scene: Scene) -> None:
    """No stored lease fits the counter any more, and none has a nonce that would do."""
    begin(scene)
    scene.keep_disk()
    scene.run(7 * HOUR_S)
    scene.put_disk_back(0)
    state = scene.run(HOUR_S / 2, connected=False)
    require(state is BoxState.LOCKED, f"a box with leases of before is {state}")
    scene.must_serve()


def a_service_clock_set_back_extends_nothing(scene: Scene) -> None:
    """The latest time that was seen counts."""
    scene.rest((LICENSE_DAYS + 1) * DAY_S)
    scene.run(HOUR_S)
    scene.set_service_back(30 * DAY_S)
    state = scene.run(2 * HOUR_S)
    require(state is not BoxState.SERVING, "a licence that was over goes on")


def a_licence_that_is_over_grants_nothing(scene: Scene) -> None:
    """Calendar time is the service's."""
    begin(scene)
    scene.rest(90 * DAY_S)
    state = scene.run(HOUR_S)
    require(state is BoxState.ENDED, f"a box under a licence that is over is {state}")


def _without_time(offset: TimeInfoOffset) -> tuple[Change, ...]:
    digest, command = policy_counter_timer, tpm_unseal._policy_time

    def policy(before: bytes, operand: bytes, at: TimeInfoOffset, operation: Operation) -> bytes:
        return before if at is offset else digest(before, operand, at, operation)

    def assertion(tpm: Any, session: Any, most: bytes, at: TimeInfoOffset) -> None:
        if at is not offset:
            command(tpm, session, most, at)

    return (lease_document, "policy_counter_timer", policy), (tpm_unseal, "_policy_time", assertion)


def _without_counter(operation: Operation, comparison: TPM2_EO) -> tuple[Change, ...]:
    digest, command = policy_nv, tpm_unseal._policy_nv

    def policy(before: bytes, operand: bytes, offset: int, compared: Operation, name: bytes) -> bytes:
        return before if compared is operation else digest(before, operand, offset, compared, name)

    def assertion(tpm: Any, session: Any, counter: Any, operand: int, compared: TPM2_EO) -> None:
        if compared != comparison:
            command(tpm, session, counter, operand, compared)

    return (lease_document, "policy_nv", policy), (tpm_unseal, "_policy_nv", assertion)


def _nothing(*_: object, **__: object) -> None:
    """In place of a check."""


def _unreachable(*_: object) -> None:
    raise ServiceUnreachableError("Nobody asks for a nonce.")


DEFENCES = {
    "lease counter in the policy": Defence(old_leases_are_dead, _without_counter(Operation.EQ, TPM2_EO.EQ)),
    "Clock in the policy": Defence(clock_ends_a_lease, _without_time(TimeInfoOffset.CLOCK)),
    "resetCount in the policy": Defence(resets_end_a_lease, _without_time(TimeInfoOffset.RESET_COUNT)),
    "ticks in the policy": Defence(ticks_end_a_lease, _without_counter(Operation.UNSIGNED_LE, TPM2_EO.UNSIGNED_LE)),
    "box counts hours": Defence(every_hour_is_counted, ((LeaseKeeper, "tick", _nothing),)),
    "box ends its lease": Defence(a_running_lease_ends, ((lease_keeper, "lease_end", _nothing),)),
    "box deletes old leases": Defence(old_leases_are_deleted, ((LeaseStore, "delete_leases_below", _nothing),)),
    "charges are carried over": Defence(
        an_enrolment_that_ends_is_charged, ((enrollment_basis, "charged_before", lambda *_: 0),)
    ),
    "retirement charges what is out": Defence(
        an_enrolment_that_ends_is_charged, ((retirement, "outstanding_end", lambda device: device.ticks),)
    ),
    "suspension": Defence(a_suspended_licence_grants_nothing, ((renewal, "require_usable", _nothing),)),
    "licence's end": Defence(
        a_licence_that_is_over_grants_nothing,
        ((renewal, "require_usable", _nothing), (leases, "min", lambda *of: of[-1])),
    ),
    "service's time": Defence(
        a_service_clock_set_back_extends_nothing, ((ServiceClock, "now", lambda clock: int(clock.clock())),)
    ),
    "a TPM put back is held": Defence(
        a_tpm_put_back_is_held_and_charged, ((clock_histories, "put_back", lambda device, *_: device),)
    ),
    "a TPM put back is charged": Defence(
        a_tpm_put_back_is_held_and_charged, ((baselines, "outstanding_end", lambda device: device.ticks),)
    ),
    "resets as planned": Defence(no_lease_beyond_the_plan, ((leases, "LEAST_BOOTS", 51),)),
    "ticks as planned": Defence(no_lease_beyond_the_plan, ((leases, "SPARE_TICKS", 25),)),
    "a calendar that is ahead is known": Defence(
        a_calendar_in_2099_locks_nobody_out, ((LeaseCalendar, "learn", _nothing),)
    ),
    "a fresh nonce": Defence(an_older_disk_heals, ((DirectClient, "nonce", _unreachable),)),
}
