"""The agent's keeper of budgets and of what is known of keys. Every change is on the disk before it is told.

    outflow/ledger.json     what is used of each budget
    outflow/keys.json       what is counted of the requests of each key

Safe to use from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.outflow.key_states import KeyState, KeyStates, with_cleared, with_counted
from sealwright_appliance.outflow.ledger import Asked, Grant, Ledger, LedgerRow, advanced, grant, used
from sealwright_policies.errors import UsageError
from sealwright_policies.outflow import ReleaseOutflow
from sealwright_policies.wire.encoding import document_bytes, parse_json

LEDGER_LIMIT = 4 * 1024 * 1024
STATES_LIMIT = 1024 * 1024


@dataclass
class BoxOutflow:
    """Budgets of the running release."""

    folder: Path
    policy: ReleaseOutflow
    models: frozenset[str]
    """Payload ids: the gateway's word alone makes no row."""
    service_time: Callable[[], int] = lambda: 0
    """Latest time of which the licence service has told, seconds since the epoch; 0 for none."""
    steady: Callable[[], float] = time.monotonic
    alarm: Callable[[KeyState], None] = lambda _: None
    """Told of each key that has come to a higher level; what it raises keeps the count from being taken."""
    alarms: Callable[[int], None] = lambda _: None
    """Told how many there are, whenever it may have changed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ledger: Ledger | None = None
    _advanced_at: float = 0.0

    def allow(self, model: str, asked: Asked) -> Grant:
        """Hand out what is asked for and some more, or what is left; of an adapter by its base's budgets too.

        Raises:
            UsageError: there is no such model.
            FormatError, OperationError: the ledger cannot be read or written; then nothing is handed out.
        """
        if model not in self.models:
            raise UsageError("The running release has no such model.")
        with self._lock:
            policies = {one: self.policy.of(one) for one in (model, self.policy.whole(model))}
            changed, given = grant(self._now(), policies, asked)
            if changed is not self._ledger:
                self._write(changed)
            return given

    def states(self) -> KeyStates:
        """What is kept of the requests of keys, and the calendar.

        Raises:
            FormatError, OperationError: it cannot be read, or the ledger.
        """
        with self._lock:
            return self._states().model_copy(update={"at_s": self._now().at_s})

    def count(self, counted: Sequence[KeyState]) -> None:
        """Keep what the gateway has counted; higher levels are told. Raises like :meth:`states`."""
        if any(one.model not in self.models for one in counted):
            raise UsageError("The running release has no such model.")
        with self._lock:
            kept, raised = with_counted(self._states(), counted, self._now().at_s)
            for one in raised:  # before it is kept: rather told twice than never
                self.alarm(one)
            self._keep(kept)

    def clear(self, key: str) -> int:
        """Begin anew with a key; at how many models it had come to a level. Raises like :meth:`states`."""
        with self._lock:
            kept = self._states()
            had = sum(one.key == key and one.level > 0 for one in kept.states)
            self._keep(with_cleared(kept, key))
            return had

    def ledger(self) -> Ledger:
        """What is used. Raises like :meth:`allow`."""
        with self._lock:
            return self._now()

    def used(self) -> list[LedgerRow]:
        """What is used in the windows of now, of the models of this release. Raises like :meth:`allow`."""
        ledger = self.ledger()
        return [used(ledger, row.model, row.key) for row in ledger.rows if row.model in self.models]

    def _now(self) -> Ledger:
        """The ledger, its calendar gone on."""
        if self._ledger is None:
            content = read_file(self._file, LEDGER_LIMIT)
            # One that is damaged is not begun anew: whoever can damage it would get the budgets again.
            self._ledger = Ledger() if content is None else parse_json(Ledger, content, limit=LEDGER_LIMIT)
            self._advanced_at = self.steady()
        passed = int(self.steady() - self._advanced_at)
        self._advanced_at += passed
        self._ledger = advanced(self._ledger, passed, self.service_time())
        return self._ledger

    def _states(self) -> KeyStates:
        content = read_file(self.folder / "keys.json", STATES_LIMIT)
        return KeyStates() if content is None else parse_json(KeyStates, content, limit=STATES_LIMIT)

    def _keep(self, states: KeyStates) -> None:
        write_durably(self.folder / "keys.json", document_bytes(states))
        self.alarms(sum(one.level > 0 for one in states.states))

    def _write(self, ledger: Ledger) -> None:
        write_durably(self._file, document_bytes(ledger))
        self._ledger = ledger

    @property
    def _file(self) -> Path:
        return self.folder / "ledger.json"
