"""The service's time never goes back: a clock that is set back extends nothing."""

from __future__ import annotations

import logging

import pytest

from sealwright_licensing.operations.service import reset_service_time
from sealwright_licensing.service_time import EXCHANGE_EVERY_S, ServiceClock, service_time
from sealwright_policies.errors import RejectionCode
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_checks import challenge
from sealwright_testing.license_world import OPERATOR, LicenseWorld

DAY = 86_400


class Clocks:
    """A wall clock that can be set, and a steady one that cannot."""

    def __init__(self) -> None:
        self.wall, self.steady = float(NOW), 0.0

    def service(self, world: LicenseWorld) -> ServiceClock:
        """A process of the service that starts now."""
        return ServiceClock(world.store, clock=lambda: self.wall, steady=lambda: self.steady)

    def pass_time(self, seconds: int) -> None:
        """Both go on."""
        self.wall += seconds
        self.steady += seconds


def test_time_follows_the_clock_forwards_only(world: LicenseWorld) -> None:
    clocks = Clocks()
    service = clocks.service(world)
    assert service.now() == NOW
    clocks.pass_time(10)
    assert service.now() == NOW + 10
    clocks.wall -= 10 * DAY
    assert service.now() == NOW + 10
    clocks.wall += 20 * DAY
    assert service.now() == NOW + 10 * DAY + 10


def test_a_service_that_starts_anew_remembers_the_latest_time(
    world: LicenseWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Also another process, and a command; the log says that the clock is behind, once a minute."""
    clocks = Clocks()
    first = clocks.service(world)
    first.now()
    clocks.pass_time(EXCHANGE_EVERY_S)
    first.now()
    clocks.wall -= DAY
    second = clocks.service(world)
    with caplog.at_level(logging.WARNING):
        assert second.now() == NOW + EXCHANGE_EVERY_S
        assert second.now() == NOW + EXCHANGE_EVERY_S
    (record,) = [one for one in caplog.records if one.message == "clock behind"]
    assert (record.__dict__["code"], record.__dict__["behind_s"]) == ("CLOCK_BEHIND", DAY)
    assert service_time(world.store, int(clocks.wall)) == NOW + EXCHANGE_EVERY_S


def test_a_running_process_takes_up_the_time_of_another(world: LicenseWorld) -> None:
    clocks, ahead = Clocks(), Clocks()
    service = clocks.service(world)
    service.now()
    ahead.wall += 500
    ahead.service(world).now()
    clocks.pass_time(EXCHANGE_EVERY_S)
    assert service.now() == NOW + 500


def test_an_ended_licence_stays_ended_when_the_clock_is_set_back(world: LicenseWorld) -> None:
    clocks = Clocks()
    _, (code,) = world.issue(days=1)
    device = world.device()
    clocks.wall += 2 * DAY
    clocks.service(world).now()
    clocks.wall = float(NOW)
    world.now = clocks.service(world).now()
    denied(RejectionCode.EXPIRED, lambda: challenge(world, device, code))


def test_an_operator_ends_a_time_that_was_ahead(world: LicenseWorld) -> None:
    """The clock was in 2099 for a moment; without this, every licence would have ended for good."""
    clocks = Clocks()
    clocks.wall = 4_070_908_800.0
    clocks.service(world).now()
    clocks.wall = float(NOW)
    assert reset_service_time(world.store, OPERATOR, now=NOW) == 4_070_908_800
    assert clocks.service(world).now() == NOW
