"""The lease keeper: renews in time, counts hours, and ends serving when there is no right to it any more.

One thread of its own; the TPM and the network may be slow. What to do and when is in :mod:`.contact_rules` and
:mod:`.renewal`; here they are put together. Nothing unseals behind a closed PCR 15, so a lease that comes too late for
this boot restarts the box.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sealwright_appliance.boot import BoxCode, BoxState, Obstacle, renewable
from sealwright_appliance.budget import remaining
from sealwright_appliance.contact_rules import ends_serving, first_contact_s, lease_end, retry_s
from sealwright_appliance.lease_calendar import LeaseCalendar
from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.renewal import Renewal, renew
from sealwright_appliance.status import BoxStatus, LeaseStatus, PayloadState, lease_status
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_counters import increment_counter, read_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.errors import OperationError, SealwrightError, VerificationError
from sealwright_policies.wire.lease import Lease

TICK_EVERY_S = 3600.0
LOOK_EVERY_S = 30.0
"""How often the end of the lease is looked at, in seconds of running time."""
TPM_SILENT_MOST_S = 300.0
"""How long the TPM may be silent before serving ends: whoever owns the machine can cut its bus."""
DEFAULT_DRAIN_S = 600
LET_IN_LATE_S = 2.0
"""How long the gateway may go by what the agent said before (:mod:`.serve.box`)."""
NOT_CLOSED = frozenset(PayloadState) - {PayloadState.CLOSED}
CLOSE_TRIES = 5
CLOSE_PAUSE_S = 10.0
"""Between two tries: what holds a payload may let go of it."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What the keeper can do to the box."""

    stop_payload: Callable[[str], None]
    restart: Callable[[], None]
    keep_status: Callable[[BoxStatus], None]
    """For an agent that restarts in this boot."""


@dataclass
class LeaseKeeper:
    """Runs beside the agent's endpoints."""

    board: StatusBoard
    actions: Actions
    tpm_lock: threading.Lock
    """The TPM has one user of this process at a time."""
    tcti: str
    renewal: Renewal | None
    """None before activation."""
    ended_s: float | None = None
    """When an earlier agent ended serving in this boot, by :attr:`steady`."""
    steady: Callable[[], float] = time.monotonic
    calendar: LeaseCalendar = field(default_factory=LeaseCalendar)
    look_every_s: float = LOOK_EVERY_S
    close_pause_s: float = CLOSE_PAUSE_S
    stop: threading.Event = field(default_factory=threading.Event)
    _failures: int = 0
    _earlier_requests_until_s: float = 0.0
    """When the last request that began under an earlier lease is over, by :attr:`steady`."""
    _clock_ahead_ms: int | None = None
    """Most that the TPM's clock was ahead of :attr:`steady`."""

    def __post_init__(self) -> None:
        """The TPM has answered a moment ago, when this boot was unlocked."""
        self._answered_at = self.steady()

    def run(self) -> None:
        """Loop until :attr:`stop` is set."""
        if self.ended_s is not None:
            self._drain(self.ended_s)
        started = self.steady()
        contact_at = started + first_contact_s(self.board.status.lease, self.calendar.now())
        tick_at = started + TICK_EVERY_S
        while not self.stop.is_set():
            now = self.steady()
            tick_at = self.tick_if_due(now, tick_at)
            if self.renewal is not None and now >= contact_at:
                contact_at = self.steady() + self.contact()
            self._guarded("LEASE", self.end_if_over)
            due = [tick_at] if tick_at > now else []
            due += [contact_at] if self.renewal is not None else []
            self.stop.wait(max(0.1, min([now + self.look_every_s, *due]) - self.steady()))

    def contact(self) -> float:
        """Renew once, act on the outcome, and return the seconds until the next contact."""
        try:
            lease = self._renew()
        except DeniedError as error:
            self.board.renewed(error.code, error.sentence)
            if ends_serving(error.code, self.board.status.lease):
                self._end(Obstacle(error.code, error.sentence))
            return self._pause()
        except VerificationError as error:
            self.board.renewed(error.code, str(error).removeprefix(f"{error.code}: "))
            return self._pause()
        except SealwrightError as error:
            self.board.renewed(BoxCode.SERVICE_UNREACHABLE, str(error))
            return self._pause()
        return self.renewed(lease)

    def renewed(self, lease: Lease | None) -> float:
        """Go on with the lease of a renewal, online or by file; returns the seconds until the next contact."""
        self._failures = 0
        if lease is None:
            self.board.renewed(
                "ok", "The service has no lease for this release; the box serves to the end of its last."
            )
            return self._pause()
        self.board.renewed("ok", f"Lease {lease.number} until {_day(lease.expires_at)}.")
        self._guarded("CALENDAR", lambda: self.calendar.learn(lease))
        self._take_up(lease)
        return float(lease.renew_after_s)

    def tick_if_due(self, now: float, due_at: float) -> float:
        """Count the hour if it is over; when to count again. What the TPM did not take stays due."""
        if now >= due_at and self._guarded("TICK", self.tick):
            return due_at + TICK_EVERY_S
        return due_at

    def tick(self) -> None:
        """Count an hour of running time."""
        with self.tpm_lock, open_provisioned_tpm(self.tcti) as tpm:
            increment_counter(tpm.device, tpm.counters.ticks)

    def end_if_over(self) -> None:
        """End serving if the running lease is over, or if the TPM no longer says whether it is."""
        status = self.board.status
        if status.state not in (BoxState.UNLOCKED, BoxState.SERVING) or status.lease is None:
            return
        try:
            with self.tpm_lock, open_provisioned_tpm(self.tcti) as tpm:
                clock_ms, ticks = tpm.device.read_clock().clock_ms, read_counter(tpm.device, tpm.counters.ticks)
        except OperationError as error:
            self.board.renewed(BoxCode.TPM, str(error))
            if self.steady() - self._answered_at > TPM_SILENT_MOST_S:
                sentence = "The TPM does not answer any more, so that nothing tells when the lease ends."
                self._end(Obstacle(BoxCode.TPM, sentence))
            return
        clock_ms, now = self._clock_ms(clock_ms), self.calendar.now()
        self.board.set_budget(remaining(status.lease, clock_ms=clock_ms, ticks=ticks, now=now))
        over = lease_end(status.lease, clock_ms=clock_ms, ticks=ticks, now=now)
        if over is not None:
            self._end(over)

    def _clock_ms(self, read_ms: int) -> int:
        """The TPM's clock as it would be without resets: one behind our back takes it to its last value in NV."""
        self._answered_at = self.steady()
        steady_ms = int(self._answered_at * 1000)
        ahead = read_ms - steady_ms
        self._clock_ahead_ms = ahead if self._clock_ahead_ms is None else max(ahead, self._clock_ahead_ms)
        return steady_ms + self._clock_ahead_ms

    def _renew(self) -> Lease | None:
        if self.renewal is None:
            raise OperationError("The box is not activated.")
        with self.tpm_lock, open_provisioned_tpm(self.tcti) as tpm:
            return renew(self.renewal, tpm)

    def _take_up(self, lease: Lease) -> None:
        status = self.board.status
        self.board.set_lease(lease_status(lease))
        if status.lease is not None:
            until_s = _requests_until_s(status.lease, self.steady())
            self._earlier_requests_until_s = max(self._earlier_requests_until_s, until_s)
        self.keep_status()
        if status.state is BoxState.ENDED or (status.state is BoxState.LOCKED and renewable(status.code)):
            self.actions.restart()

    def _end(self, reason: Obstacle) -> None:
        """Refuse new requests at once; close the payloads when the running ones have had their time."""
        status = self.board.status
        if status.state not in (BoxState.UNLOCKED, BoxState.SERVING):
            return
        self.board.change(BoxState.ENDED, reason.sentence + _warnings(status.lease), code=reason.code)
        self.keep_status()
        self._drain(self.steady())

    def _drain(self, ended_s: float) -> None:
        ends_s = max(_requests_until_s(self.board.status.lease, ended_s), self._earlier_requests_until_s)
        self.stop.wait(max(0.0, ends_s - self.steady()))
        self._close_payloads()

    def _close_payloads(self) -> None:
        """Close every payload, failed ones too, since a part of one may be open; restart the box if one does not close.

        In the next boot the TPM refuses, or the first contact, which is then due at once, ends serving again.
        """
        for _ in range(CLOSE_TRIES):
            for payload in self.board.payloads_in(*NOT_CLOSED):
                self._close(payload.payload_id)
            self.keep_status()
            if not self.board.payloads_in(*NOT_CLOSED):
                return
            self.stop.wait(self.close_pause_s)
        self.actions.restart()

    def _close(self, payload_id: str) -> None:
        try:
            self.actions.stop_payload(payload_id)
        except SealwrightError as error:
            reason = Obstacle(BoxCode.PAYLOAD_NOT_CLOSED, str(error))
            self.board.set_payload(payload_id, PayloadState.OPEN, reason)
        else:
            self.board.set_payload(payload_id, PayloadState.CLOSED)

    def keep_status(self) -> None:
        """Keep the status for an agent that restarts in this boot."""
        self._guarded("STATUS", lambda: self.actions.keep_status(self.board.status))

    def _pause(self) -> float:
        self._failures += 1
        locked = self.board.status.state in (BoxState.LOCKED, BoxState.ENDED)
        return retry_s(self._failures, locked=locked, jitter=random.random())  # noqa: S311  spreads load, no secret

    def _guarded(self, what: str, action: Callable[[], None]) -> bool:
        """Whether it was done. One failing duty does not keep the keeper from the others."""
        try:
            action()
        except SealwrightError as error:
            self.board.renewed(what, str(error))
            return False
        return True


def _requests_until_s(lease: LeaseStatus | None, last_s: float) -> float:
    """When a request is over that began at ``last_s`` under this lease."""
    return last_s + LET_IN_LATE_S + (lease.max_request_s if lease is not None else DEFAULT_DRAIN_S)


def _warnings(lease: LeaseStatus | None) -> str:
    """What the service had said before the end, with the day on which it said so."""
    if lease is None or not lease.warnings:
        return ""
    return f" Since {_day(lease.issued_at)} the service warned: {' '.join(w.message for w in lease.warnings)}"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
