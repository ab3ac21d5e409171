"""One device with two histories: held, kept apart, told to the operator, and gone on with as the operator says."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_licensing.alarms import alarm_counts
from sealwright_licensing.clock_histories import MOST_HISTORIES, continues
from sealwright_licensing.device_views import device_view, device_words
from sealwright_licensing.operations.devices import resume_device, retire_device
from sealwright_licensing.records import ClockSighting, DeviceStatus
from sealwright_policies.appraisal.clock import ClockReading
from sealwright_policies.errors import RejectionCode, UsageError
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import OPERATOR
from sealwright_testing.software_device import SoftwareDevice

HOUR = 3_600


@dataclasses.dataclass
class Copies:
    """A device and a copy of it that has been off for a day: two TPMs of one state."""

    box: EnrolledDevice
    first: SoftwareDevice
    second: SoftwareDevice

    def ask(self, device: SoftwareDevice) -> bytes:
        """One of both renews with a nonce of its own."""
        self.box.device = device
        return self.box.ask(self.box.nonce())

    def pass_time(self, seconds: int) -> None:
        """Time passes for both."""
        self.box.world.now += seconds
        self.first.pass_time(seconds)
        self.second.pass_time(seconds)


@pytest.fixture
def copies(box: EnrolledDevice) -> Copies:
    """Both were started once since; only the first was on meanwhile."""
    copy = dataclasses.replace(box.device)
    copy.pass_time(0, resets=1)
    box.pass_time(DAY, resets=1)
    return Copies(box, box.device, copy)


def sightings(box: EnrolledDevice) -> list[tuple[int, str]]:
    """Histories and codes of what is kept, oldest first."""
    with box.world.store.read() as transaction:
        found = transaction.find(ClockSighting, device_id=box.device.device_id)
    return [(one.history, one.code) for one in sorted(found, key=lambda one: one.number)]


def test_two_live_quotes_with_diverging_clocks_hold_the_device(
    copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    """The older one is a state put back for all one knows; when the newer goes on as well, it lives twice."""
    box, before = copies.box, alarm_counts()
    copies.ask(copies.first)
    copies.pass_time(HOUR)
    with caplog.at_level(logging.WARNING):
        denied(RejectionCode.CLOCK_WENT_BACK, lambda: copies.ask(copies.second))
        assert box.stored().status is DeviceStatus.HELD
        denied(RejectionCode.DEVICE_CLONED, lambda: copies.ask(copies.first))
        denied(RejectionCode.DEVICE_CLONED, lambda: copies.ask(copies.first))
        copies.pass_time(60)
        denied(RejectionCode.DEVICE_CLONED, lambda: copies.ask(copies.second))
    assert box.stored().held_code == RejectionCode.DEVICE_CLONED
    alarms = [record for record in caplog.records if record.message == "alarm"]
    assert [record.__dict__["code"] for record in alarms] == ["CLOCK_WENT_BACK", "DEVICE_CLONED"]
    counted = {code: number - before.get(code, 0) for code, number in alarm_counts().items()}
    assert {code: number for code, number in counted.items() if number} == {
        RejectionCode.CLOCK_WENT_BACK: 1,
        RejectionCode.DEVICE_CLONED: 1,
    }
    assert sightings(box) == [
        (1, "ok"), (2, "CLOCK_WENT_BACK"), (1, "DEVICE_CLONED"), (2, "DEVICE_CLONED"),
    ]  # fmt: skip
    with box.world.store.read() as transaction:
        words = device_words(device_view(transaction, box.device.device_id))
    assert sum(line.startswith("History ") for line in words) == 4


def test_a_clock_behind_the_last_in_the_same_reset_holds_the_device(box: EnrolledDevice) -> None:
    """Also by the next nonce of the lease that the newer reading has earned: it was drawn for that."""
    box.pass_time(DAY)
    box.renew()
    back = dataclasses.replace(box.device.clock, clock_ms=box.device.clock.clock_ms - 1)
    denied(RejectionCode.CLOCK_WENT_BACK, lambda: box.ask(clock=back))
    assert box.stored().held_code == RejectionCode.CLOCK_WENT_BACK
    denied(RejectionCode.CLOCK_WENT_BACK, lambda: box.ask(box.nonce()))


def test_a_message_that_was_overtaken_holds_nobody(box: EnrolledDevice) -> None:
    """Made before the last one that was accepted, it arrives behind it; with a new nonce the box goes on."""
    nonce = box.nonce()
    box.pass_time(60)
    late = box.device.renewal(box.license_.license_id, nonce)
    next_late = box.device.renewal(box.license_.license_id, box.lease.next_nonce)
    box.pass_time(60)
    box.ask()
    for request in (late, next_late):
        ask = partial(box.world.renewal.renew, request, now=box.world.now)
        error = denied(RejectionCode.NONCE_INVALID, ask)
        assert "older than the last" in str(error)
    assert box.stored().status is DeviceStatus.LIVE
    assert box.ask(box.nonce())


def test_a_longer_loss_at_a_power_cut_is_denied_but_holds_nobody(box: EnrolledDevice) -> None:
    """A software TPM may lose hours; nothing was put back."""
    box.pass_time(DAY)
    box.renew()
    clock = box.device.clock
    box.device.clock = dataclasses.replace(
        clock, clock_ms=clock.clock_ms - 3 * HOUR * 1000, reset_count=clock.reset_count + 1
    )
    denied(RejectionCode.CLOCK_WENT_BACK, lambda: box.ask(box.nonce()))
    assert box.stored().status is DeviceStatus.LIVE


@pytest.mark.parametrize("history", [1, 2])
def test_the_operator_says_which_history_goes_on(copies: Copies, history: int) -> None:
    """It renews again; the other one contradicts it and is held again; nothing that was granted is given back."""
    box = copies.box
    copies.ask(copies.first)
    copies.pass_time(HOUR)
    denied(RejectionCode.CLOCK_WENT_BACK, lambda: copies.ask(copies.second))
    denied(RejectionCode.DEVICE_CLONED, lambda: copies.ask(copies.first))
    held, store, identity = box.stored(), box.world.store, box.device.device_id
    for wrong in (None, 3):
        with pytest.raises(UsageError, match="histor"):
            resume_device(store, OPERATOR, identity, history=wrong, now=NOW)
    resumed = resume_device(store, OPERATOR, identity, history=history, now=NOW)
    assert resumed.status is DeviceStatus.LIVE
    assert resumed.charged_ticks + resumed.ticks == held.granted_ticks == held.charged_ticks + held.ticks
    assert sightings(box) == []
    chosen, other = (copies.first, copies.second)[:: 1 if history == 1 else -1]
    copies.pass_time(60)
    if history == 1:
        copies.ask(chosen)
        denied(RejectionCode.CLOCK_WENT_BACK, lambda: copies.ask(other))
    else:
        copies.ask(chosen)
    assert box.stored().status is (DeviceStatus.HELD if history == 1 else DeviceStatus.LIVE)


def test_a_cloned_device_can_be_retired(copies: Copies) -> None:
    copies.ask(copies.first)
    denied(RejectionCode.CLOCK_WENT_BACK, lambda: copies.ask(copies.second))
    retire_device(copies.box.world.store, OPERATOR, copies.box.device.device_id, now=NOW)
    denied(RejectionCode.DEVICE_UNKNOWN, lambda: copies.ask(copies.first))


def test_many_histories_are_kept_in_a_bounded_number(box: EnrolledDevice) -> None:
    """Whoever can put a TPM's state back at will must not fill the disk."""
    oldest = dataclasses.replace(box.device)
    box.pass_time(300 * DAY, resets=40)
    box.ask(box.nonce())
    for step in range(3 * MOST_HISTORIES):
        box.device.clock = dataclasses.replace(oldest.clock, reset_count=51 - step % 40)
        box.device.ticks = 300 - step
        denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    assert len(sightings(box)) <= 2 * MOST_HISTORIES


LAST = ClockSighting("d", 1, 1, NOW, 10**9, 5, 2, 100, 3, "ok")


@given(st.integers(0, 400 * DAY), st.integers(0, 30), st.floats(0.85, 1.15), st.integers(0, 70 * 60), st.integers(0, 5))
def test_an_honest_tpm_continues_its_own_history(on_s: int, boots: int, rate: float, lost_s: int, n: int) -> None:
    """Whatever the time that it was on, its clock's rate, power cuts, and the hours that it counted."""
    forward_ms = int(on_s * 1000 * rate) - (lost_s * 1000 if boots else 0)
    reading = ClockReading(5 + boots, 2, 10**9 + forward_ms, 100 + on_s // 3600 + boots, 3 + n)
    assert continues(LAST, reading, now=NOW + on_s)
    assert continues(LAST, reading, now=NOW + on_s + 7 * DAY), "it was off for a week"


@pytest.mark.parametrize(
    "changes",
    [
        {"reset_count": 4}, {"restart_count": 1}, {"clock_ms": 10**9 - 1}, {"ticks": 99}, {"lease_number": 2},
        {"clock_ms": 10**9 + (HOUR * 12 // 10 + 601) * 1000}, {"ticks": 100 + 4},
        {"reset_count": 6, "restart_count": 0, "clock_ms": 10**9 - 4_200_001},
    ],
)  # fmt: skip
def test_another_tpm_does_not(changes: dict[str, int]) -> None:
    """Each bound by itself, one step behind it; an hour has passed."""
    reading = ClockReading(5, 2, 10**9, 100, 3)
    assert continues(LAST, reading, now=NOW + HOUR)
    assert not continues(LAST, dataclasses.replace(reading, **changes), now=NOW + HOUR)
