"""The meter of the box: takes the gateway's batches and the time, closes receipts, and forgets acknowledged ones.

Safe to use from several threads: the agent's endpoints give it batches while its keeper closes and reports.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sealwright_appliance.metering.journal import (
    Batch,
    BatchRow,
    Journal,
    begin_chain,
    close_journal,
    in_new_chain,
    with_batch,
    with_copying,
    with_time,
)
from sealwright_appliance.metering.meter_store import MeteringSettings, MeterStore
from sealwright_appliance.metering.metering_terms import NOTHING_TOLD, told
from sealwright_appliance.metering.usage_days import UsageDay, UsageDays, day_of
from sealwright_policies.domains.model import Counter, Metering
from sealwright_policies.errors import OperationError, RejectionCode, UsageError, VerificationError
from sealwright_policies.metering.receipt import OTHER_KEYS, Point, SealedReceipt, shown_alias
from sealwright_policies.metering.report import RECEIPTS_MOST, REPORT_BYTES_MOST, verify_acknowledgement
from sealwright_policies.wire.service import LicenseService

LONGEST_INTERVAL_MS = 86_400_000
MONTHLY_FROM = 60
"""Unacknowledged receipts from which on they are closed by month only."""
RECEIPTS_KEPT_MOST = 400
"""From here on none is closed: the open one goes on counting."""


@dataclass
class BoxMeter:
    """The meter of one enrolled box."""

    store: MeterStore
    service: LicenseService
    device_id: str
    license_id: str
    partitions: Mapping[str, str]
    """Partition id of each model of the running release."""
    terms: Mapping[str, Metering]
    """Which counts of each model the service is told."""
    calendar: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _journal: Journal | None = None
    _days: UsageDays = field(init=False)
    _early: dict[str, int] = field(default_factory=dict)
    """Alarms of copying from before the TPM has said where it stands."""

    def __post_init__(self) -> None:
        """Days are kept beside the journal."""
        self._days = UsageDays(self.store.folder / "days")

    def open(self, now: Point) -> None:
        """Go on with the journal on the disk, or begin a chain.

        A chain ends with its licence, and with a TPM that was cleared: its points would not go on.

        Raises:
            OperationError: the disk refuses.
        """
        with self._lock:
            held = self.store.load()
            today = self._today()
            if held is None or held.device_id != self.device_id:
                held = begin_chain(self.device_id, self.license_id, now, today)
            elif held.license_id != self.license_id or held.opened.is_after(now):
                held = in_new_chain(held, self.license_id, now, today)
            for model, alarms in self._early.items():
                held = with_copying(held, model, alarms, partition=self._partition)
            self._write(held)
            self._early.clear()

    @property
    def is_open(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    def take(self, batch: Batch) -> None:
        """Count a gateway's batch, once; it is on the disk when this returns.

        Raises:
            OperationError: not open yet, or the disk refuses.
        """
        with self._lock:
            journal = self._opened()
            for row in batch.rows:
                self._partition(row.model)
            rows = [row for row in (told(one, self.terms) for one in batch.rows) if row is not None]
            self._days.take(batch.gateway_id, batch.number, [self._shown(row) for row in rows], self._today())
            changed = with_batch(
                journal, batch.model_copy(update={"rows": rows}), alias=self._alias, partition=self._partition
            )
            if changed is not journal:
                self._write(changed)

    def pass_time(self, running_ms: int, serving: Sequence[str]) -> None:
        """Count time for which the meter ran, and the models that were served meanwhile."""
        counted = [one for one in serving if Counter.LEASE_MS in self.terms.get(one, NOTHING_TOLD).counters]
        with self._lock:
            self._write(with_time(self._opened(), running_ms, counted, partition=self._partition))

    def note_copying(self, model: str) -> None:
        """Count an alarm of a model's being copied, where its domain lets it be told.

        Raises:
            OperationError: the disk refuses.
        """
        if Counter.COPYING_ALARMS not in self.terms.get(model, NOTHING_TOLD).counters:
            return
        with self._lock:
            if self._journal is None:
                self._early[model] = self._early.get(model, 0) + 1
            else:
                self._write(with_copying(self._journal, model, 1, partition=self._partition))

    def close(self, now: Point, lease_number: int) -> SealedReceipt:
        """End the interval here. Killed between the two writes, :meth:`MeterStore.load` completes it."""
        with self._lock:
            journal, today = self._opened(), self._today()
            if journal.opened.is_after(now):  # the TPM was put back or cleared behind our back
                journal = in_new_chain(journal, self.license_id, now, today)
                self._write(journal)
            sealed, following = close_journal(journal, now, today, lease_number)
            self.store.add(sealed)
            self._write(following)
            return sealed

    def close_due(self, *, reporting: bool) -> bool:
        """Whether the interval should end: a report is due and nothing else is waiting, or it has lasted long enough.

        The more receipts wait, the longer each becomes; none is ever dropped.
        """
        journal, waiting = self._journal, self.store.count()
        if journal is None or waiting >= RECEIPTS_KEPT_MOST:
            return False
        if reporting and waiting == 0:
            return True
        if _month(journal.opened_at) != _month(self._today()):
            return True
        return journal.running_ms >= LONGEST_INTERVAL_MS and waiting < MONTHLY_FROM

    def waiting(self) -> int:
        """Receipts that the service has not acknowledged."""
        return self.store.count()

    def export(self) -> list[SealedReceipt]:
        """The next receipts to report: consecutive, of one chain, within the limits of a report; none if none wait.

        For a report over the network and for one by file. They stay until :meth:`acknowledge`.
        """
        chosen: list[SealedReceipt] = []
        size = 0
        for one in self.store.receipts():
            size += len(one.content)
            if chosen and (not _follows(chosen[-1], one) or size > REPORT_BYTES_MOST or len(chosen) == RECEIPTS_MOST):
                break
            chosen.append(one)
        return chosen

    def acknowledge(self, token: str) -> int:
        """Verify an acknowledgement, from the network or a file, and forget what it names; returns how many.

        Raises:
            FormatError: no such document.
            VerificationError: not by the service, for another device, or for a receipt that is not ours.
        """
        told = verify_acknowledgement(token, self.service)
        with self._lock:
            kept = [one for one in self.store.receipts() if one.receipt.chain_id == told.chain_id]
            if told.device_id != self.device_id:
                raise VerificationError(RejectionCode.METERING_CHAIN, "the acknowledgement is for another device")
            named = [one for one in kept if one.sequence == told.sequence]
            if named and named[0].digest != told.digest:
                raise VerificationError(
                    RejectionCode.METERING_CHAIN, "the acknowledgement is for another receipt of this number"
                )
            done = [one for one in kept if one.sequence <= told.sequence] if named else []
            for one in done:  # the oldest first: what is left is always the end of the chain
                self.store.remove(one)
            return len(done)

    def settings(self) -> MeteringSettings:
        """The customer's choice."""
        return self.store.settings()

    def choose(self, settings: MeteringSettings) -> None:
        """Change it, for everything that is counted from now on."""
        with self._lock:
            self.store.write_settings(settings)

    def aliases(self, names: Sequence[str]) -> dict[str, str]:
        """What the vendor sees of each of these keys; nothing, where no domain lets any be told."""
        if not any(one.by_key for one in self.terms.values()):
            return {}
        with self._lock:
            journal, named = self._opened(), self.store.settings().names
            return {name: shown_alias(journal.alias_key, name, named=named) for name in names}

    def days(self) -> tuple[str, list[UsageDay]]:
        """The day that it is by the box's clock, and what was used on each that is kept."""
        with self._lock:
            return day_of(self._today()), self._days.days()

    def journal(self) -> Journal:
        """What is counted and not closed."""
        with self._lock:
            return self._opened()

    def _alias(self, row: BatchRow) -> str:
        if not self.terms.get(row.model, NOTHING_TOLD).by_key:
            return OTHER_KEYS
        return shown_alias(self._opened().alias_key, row.key, named=self.store.settings().names)

    def _shown(self, row: BatchRow) -> BatchRow:
        if self.terms.get(row.model, NOTHING_TOLD).by_key:
            return row
        return row.model_copy(update={"key": OTHER_KEYS})

    def _today(self) -> int:
        """Seconds since the epoch; a clock that stands before it says zero."""
        return max(0, int(self.calendar()))

    def _opened(self) -> Journal:
        if self._journal is None:
            raise OperationError("The meter is not open: the TPM has not said where it stands.", cure="Try again.")
        return self._journal

    def _write(self, journal: Journal) -> None:
        self.store.write(journal)
        self._journal = journal

    def _partition(self, model: str) -> str:
        """Demand a model of this release: the gateway's word alone makes no row."""
        if model not in self.partitions:
            raise UsageError(f"The running release has no model {model}.")
        return self.partitions[model]


def _follows(before: SealedReceipt, after: SealedReceipt) -> bool:
    return after.receipt.previous == before.digest


def _month(seconds: int) -> tuple[int, int]:
    return time.gmtime(seconds)[:2]
