"""What the running box says of itself: changed by the agent, shown by the gateway, told on the console."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sealwright_appliance.boot import BoxCode, BoxState, Obstacle, next_state
from sealwright_appliance.console import Console, state_line
from sealwright_appliance.log_lines import Event, Notice, tell
from sealwright_appliance.outflow.key_states import KeyState
from sealwright_appliance.status import (
    BootResult,
    BoxStatus,
    BudgetStatus,
    LeaseStatus,
    PayloadState,
    PayloadStatus,
    WorkloadRun,
)
from sealwright_appliance.workloads import ENDED

NO_CONTACT = "No contact with the licence service in this boot yet."


class StatusBoard:
    """The present status. Safe to use from several threads."""

    def __init__(self, boot: BootResult, console: Console, now: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._console = console
        self._now = now
        self._status = BoxStatus(
            state=boot.state,
            code=boot.code,
            sentence=boot.sentence,
            since=boot.at,
            device_id=boot.device_id,
            release=boot.release,
            payloads=boot.payloads,
            lease=boot.lease,
            budget=None,
            secrets_waiting=False,
            renewal=NO_CONTACT,
            tls_fingerprint=boot.tls_fingerprint,
            workloads=boot.workloads,
            kept_closed=boot.kept_closed,
        )

    @property
    def status(self) -> BoxStatus:
        """The present status, a frozen document."""
        return self._status

    def change(self, state: BoxState, sentence: str, *, code: str | None = None) -> None:
        """Enter a state and say so on the console."""
        with self._lock:
            self._enter(state, sentence, code)

    def _enter(self, state: BoxState, sentence: str, code: str | None) -> None:
        self._status = self._status.model_copy(
            update={
                "state": next_state(self._status.state, state),
                "code": code,
                "sentence": sentence,
                "since": int(self._now()),
            }
        )
        self._console.say(state_line(self._status))

    def engines_decided(self) -> None:
        """Every engine serves or has failed: the unlocked box serves or has ended, unless it has ended meanwhile."""
        with self._lock:
            if self._status.state is not BoxState.UNLOCKED:
                return
            if self.payloads_in(PayloadState.SERVING):
                self._enter(BoxState.SERVING, "The models answer.", None)
            else:
                failed = next(iter(self.payloads_in(PayloadState.FAILED)), None)
                code = failed.code if failed is not None and failed.code else BoxCode.ENGINE_FAILED
                self._enter(BoxState.ENDED, "No model of this release can be served.", code)

    def set_payload(self, payload_id: str, state: PayloadState, reason: Obstacle | None = None) -> None:
        """Note what one payload does; a failure goes to the console. A closed one stays closed in this boot."""
        change = {
            "state": state,
            "code": reason.code if reason else None,
            "sentence": reason.sentence if reason else "",
        }
        with self._lock:
            if any(payload.payload_id == payload_id for payload in self.payloads_in(PayloadState.CLOSED)):
                return
            payloads = [
                payload.model_copy(update=change) if payload.payload_id == payload_id else payload
                for payload in self._status.payloads
            ]
            self._status = self._status.model_copy(update={"payloads": payloads})
            if reason is not None:
                self._console.say(f"payload {payload_id}: {reason.code}: {reason.sentence}")

    def set_run(self, payload_id: str, run: WorkloadRun, sentence: str = "") -> None:
        """Note how far a workload has come; that it has ended, and what was wrong then, goes to the console."""
        with self._lock:
            change = {"run": run} | ({"sentence": sentence} if sentence else {})
            workloads = tuple(
                one.model_copy(update=change) if one.payload_id == payload_id else one for one in self._status.workloads
            )
            if workloads != self._status.workloads and run in ENDED:
                self._console.say(f"workload {payload_id}: {run.value}{f': {sentence}' if sentence else ''}")
            self._status = self._status.model_copy(update={"workloads": workloads})

    def say(self, line: str) -> None:
        """Say on the console what changes nothing."""
        with self._lock:
            self._console.say(line)

    def set_lease(self, lease: LeaseStatus) -> None:
        """Note the lease that the box lives on now."""
        with self._lock:
            self._status = self._status.model_copy(update={"lease": lease})

    def set_budget(self, budget: BudgetStatus) -> None:
        """Note how long the box may still be used; a new level of warning goes to the console."""
        with self._lock:
            before = self._status.budget
            self._status = self._status.model_copy(update={"budget": budget})
            if budget.level_days and (before is None or before.level_days != budget.level_days):
                self._console.say(f"warning {budget.warning}: {budget.sentence}")

    def set_secrets_waiting(self, *, waiting: bool) -> None:
        """Note whether the customer's secrets wait; that they no longer do goes to the console."""
        with self._lock:
            if self._status.secrets_waiting and not waiting:
                self._console.say("secrets acknowledged and erased")
            self._status = self._status.model_copy(update={"secrets_waiting": waiting})

    def renewed(self, code: str, sentence: str) -> None:
        """Note the outcome of a contact with the licence service: ``ok`` or the code of the failure."""
        with self._lock:
            self._status = self._status.model_copy(update={"renewal": f"{code}: {sentence}"})
            self._console.say(f"renewal: {code}: {sentence}")

    def metered(self, code: str, sentence: str) -> None:
        """Note the outcome of a metering report; a failure that is new goes to the console."""
        said = f"{code}: {sentence}"
        with self._lock:
            if code != "ok" and said != self._status.metering:
                self._console.say(f"metering: {said}")
            self._status = self._status.model_copy(update={"metering": said})

    def extraction_alarm(self, state: KeyState) -> None:
        """Say on console and in the journal that a key's requests look like the copying of a model, and which model."""
        if state.sign is None:
            return
        tell(Notice(Event.EXTRACTION_ALARM, state.model, state.sign, state.level))
        with self._lock:
            self._console.say(f"extraction {state.model}: {state.sign}: level {state.level}")

    def set_extraction_alarms(self, count: int) -> None:
        """Note how many keys there are of that kind."""
        with self._lock:
            self._status = self._status.model_copy(update={"extraction_alarms": count})

    def payloads_in(self, *states: PayloadState) -> list[PayloadStatus]:
        """Payloads that are in one of these states."""
        return [payload for payload in self._status.payloads if payload.state in states]
