"""The one process of the running box that may close volumes: root, with CAP_SYS_ADMIN and without a network.

It starts the engines and workloads that :mod:`.unlock` has prepared, drops what they leave in the page cache, and does
what the agent asks (:mod:`.volume_messages`): start or stop an engine, close a payload, look at one, remove results
that are over, apply the site's settings, restart the box. It opens no volume: that was over when PCR 15 was closed.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sealwright_appliance import volumes, workloads
from sealwright_appliance.engines import ObservedEngine, observed_engine, show_engine, unit
from sealwright_appliance.own_adapters import name_own_adapters
from sealwright_appliance.page_cache import drop_cached_pages
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import forget_closed, forget_results, is_over
from sealwright_appliance.result_volumes import ResultVolumes
from sealwright_appliance.results import ADAPTER_FILE
from sealwright_appliance.run import ToolError, run
from sealwright_appliance.site.units import TIME_FILE
from sealwright_appliance.volume_messages import (
    MESSAGE_LIMIT,
    SENTENCE_LIMIT,
    VolumeOperation,
    VolumeReply,
    VolumeRequest,
)
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.wire.encoding import document_bytes, parse_json

CLEAN_EVERY_S = 2.0
"""Longest that plaintext of weights is in the page cache, in seconds."""
STOP_TIMEOUT_S = 120.0
SITE_UNIT = "sealwright-site.service"
TIME_UNIT = "systemd-timesyncd.service"
REQUEST_TIMEOUT_S = 5.0
"""For a request to arrive: the agent sends it in one piece."""
ADAPTER_SERVICE = "sealwright-adapters.service"
"""Goes on with a training that a power cut has ended; else it is started by the first who asks."""
SYSTEMD_FIRST_FD = 3
"""The listening socket that systemd hands over (sd_listen_fds(3))."""


class Volumes(Protocol):
    """What the agent asks for; over a socket in the box (:mod:`.volume_client`)."""

    def close(self, payload_id: str) -> None:
        """Stop an engine and close its payload: the kernel forgets the volume key. May be tried again.

        Raises:
            OperationError: the engine runs or the payload is open; every step was tried.
        """

    def is_corrupted(self, payload_id: str) -> bool:
        """Whether verity has refused a block since the payload was opened."""

    def start_engine(self, payload_id: str) -> None:
        """Have an engine load its model; nothing, if it runs.

        Raises:
            OperationError: unlocking has prepared none, or its payload was closed since.
        """

    def stop_engine(self, payload_id: str) -> None:
        """Stop an engine, so that its memory is free; nothing, if none runs. Its payload stays open.

        Raises:
            OperationError: it does not stop.
        """

    def engine_of(self, payload_id: str) -> ObservedEngine:
        """Whether an engine runs, is about to, or is to be started again after it has died; and how often it has.

        Raises:
            OperationError: nobody knows.
        """

    def run_of(self, payload_id: str) -> workloads.ObservedRun | None:
        """How far a workload has come; None if nobody knows."""

    def forget(self, now: int) -> tuple[str, ...]:
        """Remove what is over of the results of workloads; adapters that are served no longer.

        Args:
            now: of the calendar of retention, seconds.

        Raises:
            OperationError: not all of it went.
        """

    def apply_site(self) -> None:
        """Have systemd's services and the packet filter told of the site (:mod:`.site.apply`).

        Raises:
            OperationError: it failed.
        """

    def restart(self) -> None:
        """Restart the machine: the only way to another unsealing."""


@dataclass(frozen=True, slots=True)
class VolumeService:
    """Does it. ``execute`` runs programs."""

    paths: Paths
    execute: Callable[..., str] = run

    def start_units(self) -> None:
        """Have systemd start the engines that are loaded first, and a workload for every mark; workloads that run, or
        have run, stay as they are. Which engines run later is for the gateway to say: their marks are used up here."""
        first = _names(self.paths.engine_starts)
        prepared = set(_names(self.paths.engine_environments))
        units = [unit(name) for name in first if name in prepared]
        trainers = workloads.load_workloads(self.paths).trainers
        marked = _names(self.paths.workloads)
        units += [workloads.started(name, trainers) for name in marked]
        if trainers.intersection(marked):
            units.append(ADAPTER_SERVICE)
        if units:
            self.execute(["systemctl", "start", "--no-block", *units])
        for name in first:
            (self.paths.engine_starts / name).unlink()
        if (self.paths.systemd_run / TIME_FILE).exists():  # it has begun before the state volume was there
            self.execute(["systemctl", "try-restart", "--no-block", TIME_UNIT])

    def start_engine(self, payload_id: str) -> None:
        """See :class:`Volumes`."""
        if not (self.paths.engine_environments / payload_id).exists():
            raise OperationError(f"There is no engine for {payload_id} any more.")
        name_own_adapters(self.paths, payload_id, workloads.load_workloads(self.paths))
        self.execute(["systemctl", "start", unit(payload_id)])

    def stop_engine(self, payload_id: str) -> None:
        """See :class:`Volumes`."""
        self.execute(["systemctl", "stop", unit(payload_id)], timeout_s=STOP_TIMEOUT_S)

    def engine_of(self, payload_id: str) -> ObservedEngine:
        """See :class:`Volumes`."""
        return observed_engine(self.execute(show_engine(payload_id)))

    def close(self, payload_id: str) -> None:
        """See :class:`Volumes`."""
        # First of all: nobody is to start the engine again.
        (self.paths.engine_environments / payload_id).unlink(missing_ok=True)
        stopping = [["systemctl", "stop", unit(payload_id)]]
        for name in self._adapters_on(payload_id):
            (self.paths.engine_environments / name).unlink(missing_ok=True)
            stopping.append(["systemctl", "stop", unit(name)])
        if marks := _names(self.paths.workloads):
            # All of them: each may have the payload open, and a lease has ended.
            stopping.append(["systemctl", "stop", workloads.ALL_SOCKETS, workloads.ALL_UNITS])
            for name in marks:
                (self.paths.workloads / name).unlink(missing_ok=True)
        failures = self._attempt(stopping)
        closing = self._attempt(volumes.close_payload(payload_id, self.paths.payloads / payload_id))
        # A step may fail because an earlier try has done it: what the kernel still has is what counts.
        if volumes.is_open(self.execute(volumes.list_devices()), payload_id):
            failures += closing
        else:
            (self.paths.payloads / payload_id / ADAPTER_FILE).unlink(missing_ok=True)
        if failures:
            raise OperationError(f"Payload {payload_id} is not wholly closed: {failures[0]}")

    def is_corrupted(self, payload_id: str) -> bool:
        """See :class:`Volumes`."""
        try:
            return volumes.is_corrupted(self.execute(volumes.verity_status(volumes.verity_name(payload_id))))
        except ToolError:
            return False

    def _adapters_on(self, payload_id: str) -> list[str]:
        """Adapters whose engines have this payload open, as the model that they change."""
        wanted = f"={self.paths.payloads / payload_id}/"
        return [
            name
            for name in _names(self.paths.engine_environments)
            if name != payload_id and wanted in (self.paths.engine_environments / name).read_text("utf-8")
        ]

    def run_of(self, payload_id: str) -> workloads.ObservedRun | None:
        """See :class:`Volumes`."""
        try:
            run = workloads.run_state(self.execute(workloads.show(payload_id)))
        except ToolError:
            return None
        plan = workloads.load_workloads(self.paths).workloads.get(payload_id) if run in workloads.ENDED else None
        full = plan is not None and ResultVolumes(self.paths.results).is_full(plan.domain)
        return workloads.ObservedRun(run, full)

    def forget(self, now: int) -> tuple[str, ...]:
        """See :class:`Volumes`."""
        plans = workloads.load_workloads(self.paths)
        files = {name: self.paths.payloads / name / ADAPTER_FILE for name in plans.adapters}
        closed: list[str] = []
        failures: list[str] = []
        over: list[str] = []
        for name, plan in plans.adapters.items():
            try:
                if files[name].exists() and is_over(files[name], plan.days, now):
                    over.append(name)
            except OSError as error:
                failures.append(f"Adapter {name} cannot be dated: {error.strerror}.")
        for name in over:
            (self.paths.engine_environments / name).unlink(missing_ok=True)  # first, as in close
            failed = self._attempt([["systemctl", "stop", unit(name)]])
            if not failed:
                files[name].unlink()
                closed.append(name)
            failures += failed
        for forget in (forget_results, forget_closed):
            try:
                forget(self.paths.results, plans.results, now)
            except OperationError as error:
                failures.append(str(error))
        if failures and not closed:  # what is closed is told once; what failed is tried, and told, at the next look
            raise OperationError(failures[0])
        return tuple(closed)

    def apply_site(self) -> None:
        """See :class:`Volumes`."""
        self.execute(["systemctl", "restart", SITE_UNIT])
        self.execute(["systemctl", "restart", "systemd-networkd.service", TIME_UNIT])

    def restart(self) -> None:
        """See :class:`Volumes`."""
        self.execute(["systemctl", "reboot"])

    def answer(self, request: bytes) -> VolumeReply:
        """Do what was asked, of payloads that this box has; nothing is raised."""
        try:
            asked = parse_json(VolumeRequest, request, limit=MESSAGE_LIMIT)
            if asked.operation is VolumeOperation.FORGET and asked.now is not None:
                return VolumeReply(forgotten=self.forget(asked.now))
            of_box = asked.operation in (VolumeOperation.RESTART, VolumeOperation.SITE)
            return self._done(asked.operation, "" if of_box else self._own_payload(asked.payload_id))
        except (SealwrightError, OSError) as error:
            return VolumeReply(error=str(error)[:SENTENCE_LIMIT])

    def _done(self, operation: VolumeOperation, payload_id: str) -> VolumeReply:
        match operation:
            case VolumeOperation.INSPECT:
                return VolumeReply(corrupted=self.is_corrupted(payload_id))
            case VolumeOperation.RUN:
                seen = self.run_of(payload_id)
                return VolumeReply() if seen is None else VolumeReply(run=seen.run, results_full=seen.results_full)
            case VolumeOperation.FORGET:
                raise OperationError("Results are not removed without a time.")
            case VolumeOperation.ENGINE:
                engine = self.engine_of(payload_id)
                return VolumeReply(runs=engine.runs, deaths=engine.deaths)
            case VolumeOperation.START:
                self.start_engine(payload_id)
            case VolumeOperation.STOP:
                self.stop_engine(payload_id)
            case VolumeOperation.CLOSE:
                self.close(payload_id)
            case VolumeOperation.SITE:
                self.apply_site()
            case VolumeOperation.RESTART:
                self.restart()
        return VolumeReply()

    def _own_payload(self, payload_id: str | None) -> str:
        """A payload that :mod:`.unlock` has made a mount point for; so no name leads elsewhere."""
        names = [path.name for path in self.paths.payloads.iterdir()] if self.paths.payloads.is_dir() else []
        if payload_id is None or payload_id not in names:
            raise OperationError(f"There is no payload {payload_id}.")
        return payload_id

    def _attempt(self, steps: Sequence[volumes.Argv]) -> list[str]:
        """Run every step; what went wrong."""
        failures: list[str] = []
        for step in steps:
            try:
                self.execute(step, timeout_s=STOP_TIMEOUT_S)
            except OperationError as error:
                failures.append(str(error))
        return failures

    def keep_page_cache_clean(self, stop: threading.Event, every_s: float = CLEAN_EVERY_S) -> None:
        """Drop what engines have read through the page cache, also those that systemd has started again."""
        while not stop.wait(every_s):
            with suppress(OSError):  # no payload, or one that is just being closed
                for payload in self.paths.payloads.iterdir():
                    # A workload's programs are needed again, and nothing to hide from whoever runs them.
                    if not (self.paths.workloads / payload.name).exists():
                        drop_cached_pages(path for path in payload.rglob("*") if path.is_file())


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def serve(service: VolumeService, listener: socket.socket) -> None:
    """Answer one connection after the other, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.settimeout(REQUEST_TIMEOUT_S)
            request = received(connection)
            connection.settimeout(None)
            connection.sendall(document_bytes(service.answer(request)))


def received(connection: socket.socket) -> bytes:
    """What the other side sends, to its end; a byte more than :data:`MESSAGE_LIMIT` at most."""
    content = b""
    while len(content) <= MESSAGE_LIMIT and (piece := connection.recv(MESSAGE_LIMIT + 1)):
        content += piece
    return content[: MESSAGE_LIMIT + 1]


def run_volume_service(paths: Paths) -> None:
    """Serve on the socket that systemd has opened: the agent's group may connect, nobody else."""
    service = VolumeService(paths)
    service.start_units()
    cleaner = threading.Thread(target=service.keep_page_cache_clean, args=(threading.Event(),), daemon=True)
    cleaner.start()
    if os.environ.get("LISTEN_FDS") != "1":
        raise OperationError("sealwright-volumes is started by its socket.")
    with socket.socket(fileno=SYSTEMD_FIRST_FD) as listener:
        serve(service, listener)
