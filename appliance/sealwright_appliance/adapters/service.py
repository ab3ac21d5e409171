"""The adapter service: keeps the customer's examples and the adapters that are trained on them.

It has these and nothing else: no network, no weights, no TPM. The gateway asks over a socket that systemd has opened
for its group; who may ask what is the gateway's to decide. Which models may have adapters, and how many, the verity
root says.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sealwright_appliance.adapters.examples import examples_bytes, parse_examples
from sealwright_appliance.adapters.messages import (
    REQUEST_LIMIT,
    AdapterOperation,
    AdapterReply,
    AdapterRequest,
    KeptAdapter,
    parse_adapter_request,
)
from sealwright_appliance.adapters.refusals import AdapterCode, AdapterError
from sealwright_appliance.adapters.store import AdapterStore, new_id
from sealwright_appliance.adapters.training import Training
from sealwright_appliance.local_messages import SYSTEMD_FIRST_FD, received, received_document, serve_requests
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_engines
from sealwright_appliance.retention_calendar import told_time
from sealwright_appliance.retention_days import LEAST_DAYS
from sealwright_appliance.workloads import load_workloads
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.lease import DAY_S
from sealwright_policies.workloads import AdapterPlan

LOOK_EVERY_S = 3600.0
"""For adapters whose days are over."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,27}")


@dataclass(frozen=True, slots=True)
class AdapterService:
    """Answers requests."""

    store: AdapterStore
    training: Training
    plans: dict[str, AdapterPlan]
    """Of members whose adapters are the customer's to train."""
    now: Callable[[], int | None]
    """The calendar of retention; None while nobody has told it in this boot."""

    def respond(self, connection: socket.socket) -> bytes:
        """Read a request from a connection and answer it.

        Raises:
            FormatError: it is none.
        """
        asked = parse_adapter_request(received_document(connection, REQUEST_LIMIT))
        return document_bytes(self.answer(asked, received(connection, asked.size or 0)))

    def answer(self, asked: AdapterRequest, examples: bytes) -> AdapterReply:
        """Do what was asked; nothing is raised but what ends the process."""
        try:
            return self._done(asked, examples)
        except AdapterError as error:
            return AdapterReply(error=error.code, line=error.line)
        except SealwrightError:
            return AdapterReply(error=AdapterCode.UNAVAILABLE)

    def forget(self) -> None:
        """Remove what is over."""
        for adapter_id in self.store.tidy(self.plans, self.now()):
            self.training.stop(adapter_id)

    def _done(self, asked: AdapterRequest, examples: bytes) -> AdapterReply:
        match asked.operation:
            case AdapterOperation.ADD:
                return AdapterReply(adapters=[self._add(asked, examples)])
            case AdapterOperation.LIST:
                models = sorted({plan.base for plan in self.plans.values()})
                now = self.now()
                kept = [one for one in self.store.all() if now is None or one.expires > now] if models else []
                listed = [self._shown(one, now) for one in kept]
                return AdapterReply(adapters=listed, models=models, trainings=self.store.trainings)
            case AdapterOperation.DELETE:
                adapter_id = asked.adapter_id or ""
                self.store.delete(adapter_id)
                self.training.stop(adapter_id)
                return AdapterReply()

    def _shown(self, adapter: KeptAdapter, now: int | None) -> KeptAdapter:
        left_s = adapter.expires - (adapter.created if now is None else now)
        return adapter.model_copy(update={"percent": self.training.percent(adapter), "left_s": left_s})

    def _add(self, asked: AdapterRequest, examples: bytes) -> KeptAdapter:
        member, plan = next(
            ((name, plan) for name, plan in self.plans.items() if plan.base == asked.model), (None, None)
        )
        if member is None or plan is None:
            raise AdapterError(AdapterCode.NOT_ALLOWED)
        if asked.name is None or not NAME.fullmatch(asked.name):
            raise AdapterError(AdapterCode.NAME)
        parsed = parse_examples(examples)
        now = self.now()
        if now is None:
            raise AdapterError(AdapterCode.UNAVAILABLE)
        adapter = KeptAdapter(
            adapter_id=new_id(),
            model=plan.base,
            member=member,
            name=asked.name,
            created=now,
            expires=now + max(plan.days, LEAST_DAYS) * DAY_S,
            examples=len(parsed),
            keys=asked.keys,
        )
        self.store.add(adapter, examples_bytes(parsed), plan.own)
        self.training.wanted.set()
        return self._shown(adapter, now)


def own_plans(paths: Paths) -> dict[str, AdapterPlan]:
    """Adapters of the release that the customer may have trained, by member.

    Raises:
        FormatError: what the root says is malformed.
    """
    return {name: plan for name, plan in load_workloads(paths).adapters.items() if plan.trainer is not None}


def run_adapter_service(paths: Paths) -> None:
    """Serve on the socket that systemd has opened: the gateway's group may connect, nobody else."""
    if os.environ.get("LISTEN_FDS") != "1":
        raise OperationError("sealwright-adapters is started by its socket.")
    store, plans, layers = AdapterStore(paths.adapters), own_plans(paths), load_engines(paths).layers
    training = Training(store, lambda member: paths.trainer_socket(str(plans[member].trainer)), layers.get)
    service = AdapterService(store, training, plans, lambda: told_time(paths.retention_time))

    def look_after_days() -> None:
        while True:
            with suppress(SealwrightError, OSError):
                service.forget()
            time.sleep(LOOK_EVERY_S)

    for work in (look_after_days, training.run):
        threading.Thread(target=work, daemon=True).start()
    with socket.socket(fileno=SYSTEMD_FIRST_FD) as listener:
        serve_requests(listener, service.respond)
