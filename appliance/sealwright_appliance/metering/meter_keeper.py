"""The meter's keeper: counts time, closes receipts, and reports behind each renewal.

A thread of its own, so that nothing here keeps a renewal waiting. What fails is tried again and stops nothing else.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sealwright_appliance.boot import BoxState
from sealwright_appliance.contact_rules import retry_s
from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.log_lines import Event, Trouble, tell
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.reporting import Reporting
from sealwright_appliance.status import PayloadState
from sealwright_appliance.status_board import StatusBoard
from sealwright_policies.errors import SealwrightError, VerificationError

LOOK_EVERY_S = 20.0
"""How often the journal is written, in seconds; with the gateway's 20 it is at most 40 s behind."""
FIRST_REPORT_S = 120.0
"""Behind the start; then the engines have their models."""
DEFAULT_REPORT_EVERY_S = 86_400.0
FAILED = "METERING"


@dataclass
class MeterKeeper:
    """Runs beside the lease keeper."""

    board: StatusBoard
    reporting: Reporting
    steady: Callable[[], float] = time.monotonic
    stop: threading.Event = field(default_factory=threading.Event)
    flows: Callable[[], object] | None = None
    """Reports what came and went between boxes, behind each report of what was served."""
    _asked: threading.Event = field(default_factory=threading.Event)
    _failures: int = 0
    _reported_number: int | None = None
    """Number of the lease under which the last report was made: another one is a reason for the next."""
    _next_report: float = 0.0
    _passed_until: float = 0.0

    def run(self) -> None:
        """Loop until :attr:`stop` is set; then the last seconds are counted, too."""
        self.start()
        while not self.stop.wait(LOOK_EVERY_S):
            self.look()
        self._guarded(self.pass_time)

    def start(self) -> None:
        """The meter begins to run here."""
        self._passed_until = self.steady()
        self._next_report = self._passed_until + FIRST_REPORT_S * (1 + random.random())  # noqa: S311 - no secret
        self._reported_number = self._lease_number()

    def look(self) -> None:
        """Everything that is due."""
        if not self.reporting.meter.is_open and not self._guarded(self.reporting.open_meter):
            return
        self._guarded(self.pass_time)
        renewed = self._lease_number() != self._reported_number
        due = renewed or self._asked.is_set() or self.steady() >= self._next_report
        if self.reporting.meter.close_due(reporting=due):
            self._guarded(self._close)
        if due:
            self._asked.clear()
            self._next_report = self.steady() + self.report()

    @property
    def meter(self) -> BoxMeter:
        """What counts."""
        return self.reporting.meter

    def report_soon(self) -> None:
        """Make the next look a report: somebody does not want to wait for the next renewal."""
        self._asked.set()

    def pass_time(self) -> None:
        """Count the time since the last look."""
        now, status = self.steady(), self.board.status
        serving = status.payloads if status.state is BoxState.SERVING else []
        models = [one.payload_id for one in serving if one.state is PayloadState.SERVING]
        self.reporting.meter.pass_time(int((now - self._passed_until) * 1000), models)
        self._passed_until = now

    def report(self) -> float:
        """Report everything that waits; seconds until the next report."""
        self._reported_number = self._lease_number()
        if not self._guarded(self._report_all) or not self._flows_reported():
            self._failures += 1
            return retry_s(self._failures, locked=False, jitter=random.random())  # noqa: S311 - spreads load
        self._failures = 0
        lease = self.board.status.lease
        return float(lease.renew_after_s) if lease is not None else DEFAULT_REPORT_EVERY_S

    def _report_all(self) -> None:
        acknowledged = 0
        while reported := self.reporting.report():
            acknowledged += reported
        self.board.metered("ok", f"{acknowledged} receipts acknowledged, {self.reporting.meter.waiting()} wait.")

    def _flows_reported(self) -> bool:
        """Whether they are; trouble with them is none of the meter's, and stands in the journal alone."""
        try:
            if self.flows is not None:
                self.flows()
        except SealwrightError as error:
            tell(Trouble(Event.FLOWS_UNREPORTED, type(error)))
            return False
        return True

    def _close(self) -> None:
        self.reporting.close_interval()

    def _lease_number(self) -> int | None:
        lease = self.board.status.lease
        return lease.number if lease is not None else None

    def _guarded(self, duty: Callable[[], None]) -> bool:
        """Whether it was done; what went wrong is shown."""
        try:
            duty()
        except DeniedError as error:
            self.board.metered(error.code, error.sentence)
        except VerificationError as error:
            self.board.metered(error.code, str(error).removeprefix(f"{error.code}: "))
        except SealwrightError as error:
            self.board.metered(FAILED, str(error))
        else:
            return True
        return False
