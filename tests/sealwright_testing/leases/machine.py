"""The lease machine as Hypothesis drives it: an honest box, and one whose owner wants more than he bought.

A failing run is printed as the steps of :class:`Scene`; make a test of it in ``tests/integration/leases``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sealwright_appliance.license_client import DeniedError
from sealwright_licensing.records import DeviceStatus, LicenseStatus
from sealwright_policies.appraisal.clock import DEFAULT_LOSS_BOUND_MS
from sealwright_testing.leases.account import HOUR_S, require
from sealwright_testing.leases.scene import CONTACT_S, DAY_S, RTC_ERRORS_S, Scene
from sealwright_testing.leases.timed_box import End

MINUTE_S = 60
ENDS = st.sampled_from([End.CUT, End.SHUTDOWN])
MINUTES = st.integers(1, 10 * 60)
COUNTERS = st.sampled_from(["ticks", "lease"])
RENEWAL_STEPS = st.integers(0, 20)
STATUSES = st.sampled_from([*3 * [LicenseStatus.ACTIVE, LicenseStatus.SUSPENDED], LicenseStatus.REVOKED])
"""Revoked seldom: nothing comes after it."""
MOST_IMAGES, MOST_COPIES = 4, 4


class LeaseMachine(RuleBasedStateMachine):
    """What happens to every box."""

    template: ClassVar[Callable[[], Scene]]
    """A scene to begin with, which is not to be used itself."""
    steps: ClassVar[int] = 0
    examples: ClassVar[int] = 0
    longest: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="sealwright-leases-"))
        self.scene = LeaseMachine.template().copy(self.directory / "scene")
        self.count = 0
        LeaseMachine.examples += 1

    def teardown(self) -> None:
        """Leave nothing behind."""
        LeaseMachine.longest = max(LeaseMachine.longest, self.count)
        self.scene.close()
        shutil.rmtree(self.directory)

    @invariant()
    def is_counted(self) -> None:
        """The account is checked behind every run; here the steps are counted."""
        self.count += 1
        LeaseMachine.steps += 1

    @rule(minutes=MINUTES, connected=st.booleans(), end=ENDS)
    def run_box(self, minutes: int, *, connected: bool, end: End) -> None:
        self.scene.run(minutes * MINUTE_S, connected=connected, end=end)
        self.after_run()

    @rule(step=RENEWAL_STEPS)
    def cut_in_a_renewal(self, step: int) -> None:
        self.scene.run(CONTACT_S + HOUR_S, cut_at=step)
        self.after_run()

    @rule(lost=st.integers(1, 5))
    def lose_replies(self, lost: int) -> None:
        self.scene.run(CONTACT_S + HOUR_S, lost_replies=lost)
        self.after_run()

    @rule(days=st.integers(1, 10))
    def leave_off(self, days: int) -> None:
        self.scene.rest(days * DAY_S)

    @precondition(lambda self: len(self.scene.images) < MOST_IMAGES)
    @rule()
    def publish_and_install(self) -> None:
        self.scene.publish()
        self.scene.install(len(self.scene.images) - 1)

    @precondition(lambda self: len(self.scene.images) > 1)
    @rule(number=st.integers(0, MOST_IMAGES))
    def install(self, number: int) -> None:
        self.scene.install(number)

    @rule(error=st.sampled_from(RTC_ERRORS_S))
    def set_rtc(self, error: float) -> None:
        self.scene.box.rtc_error_s = error

    @rule(days=st.sampled_from([0, 1, 40]))
    def set_service_back(self, days: int) -> None:
        self.scene.set_service_back(days * DAY_S)

    @rule(hours=st.integers(1, 12), status=STATUSES)
    def change_license_while_it_runs(self, hours: int, status: LicenseStatus) -> None:
        self.scene.run(hours * HOUR_S, meanwhile=[(hours * HOUR_S / 2, lambda: self.scene.set_status(status))])
        self.after_run()

    def after_run(self) -> None:
        """More to ask of a box after a boot."""


class HonestBox(LeaseMachine):
    """Power cuts at any moment, lost replies, updates, a wrong calendar: it serves whenever it has contact."""

    def after_run(self) -> None:
        """An honest TPM loses no more Clock than its tier allows."""
        require(self.scene.box.lost_ms <= DEFAULT_LOSS_BOUND_MS, f"{self.scene.box.lost_ms} ms lost at a power cut")

    @rule()
    def contact(self) -> None:
        self.scene.must_serve()

    def teardown(self) -> None:
        """At the end of every story."""
        try:
            self.scene.set_status(LicenseStatus.ACTIVE)
            self.scene.must_serve()
        finally:
            super().teardown()


class GreedyOwner(LeaseMachine):
    """Everything that the owner of the machine can do to it without opening the TPM."""

    @rule(times=st.integers(1, 6), minutes=st.integers(50, 62))
    def cut_before_every_tick(self, times: int, minutes: int) -> None:
        for _ in range(times):
            self.scene.run(minutes * MINUTE_S, connected=False)

    @rule(minutes=st.integers(1, 180), silent=st.integers(1, 30))
    def cut_the_bus(self, minutes: int, silent: int) -> None:
        self.scene.run((minutes + silent) * MINUTE_S, connected=False, bus_cut_s=silent * MINUTE_S)

    @rule(times=st.integers(1, 60))
    def reset(self, times: int) -> None:
        self.scene.reset(times)

    @rule(minutes=st.integers(1, 48 * 60), end=st.sampled_from(End))
    def set_clock(self, minutes: int, end: End) -> None:
        self.scene.set_clock(minutes * MINUTE_S, end)

    @rule(which=COUNTERS, times=st.integers(1, 30))
    def count_up(self, which: str, times: int) -> None:
        self.scene.count(which, times)

    @rule(which=COUNTERS)
    def redefine(self, which: str) -> None:
        self.scene.redefine(which)

    @rule()
    def pry(self) -> None:
        self.scene.pry()

    @rule()
    def clear(self) -> None:
        self.scene.clear()

    @precondition(lambda self: len(self.scene.disks) < MOST_COPIES)
    @rule()
    def keep_disk(self) -> None:
        self.scene.keep_disk()

    @precondition(lambda self: self.scene.disks)
    @rule(number=st.integers(0, MOST_COPIES))
    def put_disk_back(self, number: int) -> None:
        self.scene.put_disk_back(number)

    @precondition(lambda self: self.scene.disks)
    @rule(number=st.integers(0, MOST_COPIES))
    def merge_disk(self, number: int) -> None:
        self.scene.merge_disk(number)

    @precondition(lambda self: len(self.scene.tpms) < MOST_COPIES)
    @rule()
    def keep_tpm(self) -> None:
        self.scene.keep_tpm()

    @precondition(lambda self: self.scene.tpms)
    @rule(number=st.integers(0, MOST_COPIES))
    def put_tpm_back(self, number: int) -> None:
        self.scene.put_tpm_back(number)

    @rule()
    def resume(self) -> None:
        self.scene.resume()

    @rule(wiped=st.booleans(), transferred=st.booleans())
    def enroll_anew(self, *, wiped: bool, transferred: bool) -> None:
        try:
            self.scene.enroll_anew(wiped=wiped, transferred=transferred)
        except DeniedError as denied:
            assert self._may_be_denied(), denied

    def _may_be_denied(self) -> bool:
        """Suspended, over, or used up."""
        license_, device = self.scene.account.license(), self.scene.account.device()
        assert device is not None
        over = self.scene.time.now >= license_.expires_at or self.scene.account.sold >= license_.tick_budget
        return over or license_.status is not LicenseStatus.ACTIVE or device.status is DeviceStatus.RETIRED


def drive(machine: type[LeaseMachine], *, examples: int, steps: int, same: bool = False) -> None:
    """Let Hypothesis try so many sequences of so many steps.

    Args:
        same: the same ones each time.

    Raises:
        BrokenPromiseError: with the shortest sequence that was found, in a note.
    """
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=same,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)
