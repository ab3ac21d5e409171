"""What a box got, and what it was sold: the judge of the lease machine.

*Obtained* is the time during which a payload was open, in seconds. *Sold* is what the service's own records say that
the TPM may have used under the licence, in ticks. The bounds between them are those of policies/spec/lease.md, 6; they
are computed here from what the service stores and what the TPM shows, not by the code under test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sealwright_appliance.boot import TpmReading
from sealwright_appliance.lease_keeper import CLOSE_PAUSE_S, CLOSE_TRIES, TPM_SILENT_MOST_S
from sealwright_licensing.records import Device, DeviceStatus, License, LicenseStatus, TickLedger
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.lease import Lease
from sealwright_testing.license_world import LicenseWorld

HOUR_S = 3600
LOOK_S = 600.0
"""How often a box in compressed time looks whether its lease is over: 30 s in the field."""
BOOT_S = 60.0
"""Between unsealing and the start of the lease keeper."""
STALL_S = 600.0
"""Longest that a contact takes in compressed time."""
SPARE_TICKS, LEAST_BOOTS, BOOTS_A_DAY = 24, 50, 4


class BrokenPromiseError(AssertionError):
    """A bound does not hold, or an honest box is locked out."""


def require(promise: bool, sentence: str) -> None:
    """Raise BrokenPromiseError with the sentence unless the promise holds."""
    if not promise:
        raise BrokenPromiseError(sentence)


@dataclass(frozen=True)
class Milestone:
    """The account at a grant."""

    obtained_s: float
    boots: int
    lost_ms: int
    clock_left_ms: int
    """From the Clock shown to the end of the lease."""
    ticks_left: int


@dataclass
class Account:
    """Of one TPM under one licence."""

    world: LicenseWorld
    license_id: str
    obtained_s: float = 0.0
    boots: int = 0
    """In which something was open."""
    lost_ms: int = 0
    """By how much Clock went back, in all."""
    sold: int = 0
    last: Milestone | None = None
    _since: float | None = None
    _ticks: int = 0
    """At the last unsealing; that boot's own tick is the first of them."""
    _open: set[str] = field(default_factory=set)
    _granted: set[str] = field(default_factory=set)

    @property
    def slack_s(self) -> float:
        """What one boot may last beyond its lease (policies/spec/lease.md, 6)."""
        ending = TPM_SILENT_MOST_S + 2 * LOOK_S + self.license().max_request_s + CLOSE_TRIES * CLOSE_PAUSE_S
        return BOOT_S + STALL_S + ending

    def metered(self, ticks: int, now: float) -> None:
        """The power goes off: has the box counted every hour in which something was open?"""
        if self._since is not None:
            counted = (ticks - self._ticks + 1) * HOUR_S + self.slack_s
            require(now - self._since <= counted, f"open for {now - self._since:.0f} s, counted {counted:.0f} s")

    @property
    def is_open(self) -> bool:
        """Whether a payload is open now."""
        return self._since is not None

    def license(self) -> License:
        """As stored now."""
        with self.world.store.read() as transaction:
            found = transaction.get(License, self.license_id)
        assert found is not None
        return found

    def device(self) -> Device | None:
        """The licence's one device as stored now, a retired one too."""
        with self.world.store.read() as transaction:
            return next(iter(transaction.find(Device, license_id=self.license_id)), None)

    def opened(self, lease: Lease, payloads: Iterable[str], reading: TpmReading, now: float) -> None:
        """The TPM has unsealed. Was it right to?"""
        pcrs = pcr_bytes(lease.unseal_pcrs)
        require(reading.clock_ms <= lease.clock_end_ms, f"unsealed at Clock {reading.clock_ms}, behind the end")
        require(reading.reset_count <= lease.max_reset_count, f"unsealed at reset {reading.reset_count} of too few")
        require(reading.ticks <= lease.max_ticks, f"unsealed at tick {reading.ticks} of {lease.max_ticks}")
        require(reading.number == lease.number, f"lease {lease.number} opened at lease counter {reading.number}")
        require({pcr: reading.pcrs[pcr] for pcr in pcrs} == pcrs, "unsealed in another boot state")
        require(reading.srk_name.hex() == lease.srk_name, "unsealed with another storage key")
        self._open = set(payloads)
        self._since = now
        self._ticks = reading.ticks
        self.boots += 1

    def closed(self, payload: str, now: float) -> None:
        """A payload is closed."""
        self._open.discard(payload)
        if not self._open:
            self.off(now)

    def off(self, now: float) -> None:
        """Nothing is open any more."""
        if self._since is not None:
            self.obtained_s += now - self._since
        self._since, self._open = None, set()

    def granted(self, lease: Lease, now: float, service_time: int) -> None:
        """The service has granted something. Was it right to?"""
        license_, device = self.license(), self.device()
        assert device is not None
        require(license_.status is LicenseStatus.ACTIVE, f"a grant under a licence that is {license_.status}")
        require(device.status is DeviceStatus.LIVE, f"a grant to a device that is {device.status}")
        require(service_time < license_.expires_at, "a grant behind the licence's end")
        if lease.lease_id in self._granted:
            return  # a stored reply, once more
        self._granted.add(lease.lease_id)
        duration_s = lease.expires_at - lease.issued_at
        require(duration_s <= license_.lease_s, "a lease is longer than the licence's leases")
        planned = max(LEAST_BOOTS, -(-duration_s * BOOTS_A_DAY // 86400))
        hours = -(-duration_s // HOUR_S)
        budget_end = device.first_ticks + license_.tick_budget - device.charged_ticks
        require(lease.clock_end_ms - device.clock_ms <= duration_s * 1000, "a lease gives more Clock than time")
        require(lease.max_reset_count - device.reset_count <= planned, "a lease gives more resets than planned")
        require(lease.max_ticks - device.ticks <= hours + planned + SPARE_TICKS, "a lease gives too many ticks")
        require(lease.max_ticks <= budget_end, "a lease goes beyond the licence's budget")
        self.last = Milestone(
            obtained_s=self.running_s(now),
            boots=self.boots,
            lost_ms=self.lost_ms,
            clock_left_ms=lease.clock_end_ms - device.clock_ms,
            ticks_left=lease.max_ticks - device.ticks,
        )

    def running_s(self, now: float) -> float:
        """Obtained so far, the open interval included."""
        return self.obtained_s + (now - self._since if self._since is not None else 0.0)

    def check(self) -> None:
        """The bounds, while the box is off."""
        sold = self._sold_ticks()
        require(sold >= self.sold, f"the service forgot what was sold: {sold} ticks after {self.sold}")
        self.sold = sold
        most = sold * HOUR_S + self.boots * self.slack_s
        require(self.obtained_s <= most, f"obtained {self.obtained_s:.0f} s, sold {sold} ticks: at most {most:.0f} s")
        if self.last is None:
            return
        since, boots = self.obtained_s - self.last.obtained_s, self.boots - self.last.boots + 1
        by_clock = (self.last.clock_left_ms + self.lost_ms - self.last.lost_ms) / 1000 + boots * self.slack_s
        by_ticks = (self.last.ticks_left + 1) * HOUR_S + boots * self.slack_s
        require(since <= by_clock, f"{since:.0f} s since the last grant, by the Clock at most {by_clock:.0f} s")
        require(since <= by_ticks, f"{since:.0f} s since the last grant, by the ticks at most {by_ticks:.0f} s")

    def _sold_ticks(self) -> int:
        device = self.device()
        assert device is not None
        with self.world.store.read() as transaction:
            ledger = transaction.get(TickLedger, self.license_id, device.device_id)
        before = ledger.charged_ticks if ledger else 0
        if device.status is DeviceStatus.RETIRED:
            return before
        return device.charged_ticks + max(device.granted_ticks, device.ticks) - device.first_ticks
