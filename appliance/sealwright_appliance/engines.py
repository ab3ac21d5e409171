"""Engines: one systemd unit per open model, started and stopped here, closed with its volume."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance import volumes
from sealwright_appliance.boot import BoxCode, BoxState, Obstacle
from sealwright_appliance.boot_result import load_boot_result
from sealwright_appliance.files import write_durably
from sealwright_appliance.page_cache import drop_cached_pages
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import ToolError, run
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.errors import OperationError

LOADING_MOST_S = 900.0
POLL_S = 0.5
HEALTH_S = 5.0
LOOK_EVERY = 10
"""Polls between two looks for corruption: each starts a program."""
PARALLEL_REQUESTS = 4
CACHE_SHARE = 8
"""One part in so many of the box's memory may hold the state of past prompts, all engines together."""
CACHE_MOST_MIB = 8192
"""llama.cpp's own limit (--cache-ram), which asks nobody how much memory there is."""
MIB = 1024 * 1024
STOP_TIMEOUT_S = 120.0


def unit(payload_id: str) -> str:
    """The unit that runs a payload's engine."""
    return f"sealwright-engine@{payload_id}.service"


def prompt_cache_mib(memory: int, engines: int) -> int:
    """What one engine may keep of past prompts, in MiB; 0 is none.

    Args:
        memory: bytes in the box.
        engines: among which the cache is shared.
    """
    return min(CACHE_MOST_MIB, memory // CACHE_SHARE // max(1, engines) // MIB)


def memory_bytes() -> int:
    """Memory that the kernel manages, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def environment(paths: Paths, payload: PayloadStatus, *, processors: int, memory: int, engines: int) -> str:
    """Environment file of an engine unit.

    One processor stays free: with all of them busy, llama.cpp's threads wait for each other (28 tokens/s became 1.2).
    """
    threads = max(1, (processors - 1) // max(1, engines))
    model = paths.payloads / payload.payload_id / payload.file_name
    return (
        f"SEALWRIGHT_MODEL={model}\nLLAMA_ARG_THREADS={threads}\nLLAMA_ARG_N_PARALLEL={PARALLEL_REQUESTS}\n"
        f"OMP_NUM_THREADS={threads}\nLLAMA_ARG_CACHE_RAM={prompt_cache_mib(memory, engines)}\n"
    )


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of this boot."""

    paths: Paths
    execute: Callable[..., str] = run
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def start(self, payloads: Sequence[PayloadStatus]) -> None:
        """Have systemd start the engines of payloads; they load their models after this returns."""
        processors, memory = os.cpu_count() or 1, memory_bytes()
        for payload in payloads:
            text = environment(self.paths, payload, processors=processors, memory=memory, engines=len(payloads))
            write_durably(self.paths.engine_environments / payload.payload_id, text.encode("utf-8"))
        if payloads:
            units = [unit(payload.payload_id) for payload in payloads]
            self.execute(["systemctl", "start", "--no-block", *units])

    def wait_until_ready(self, payload_id: str) -> Obstacle | None:
        """Wait until an engine answers, and drop what loading left in the page cache; the reason if it never will."""
        ends = self.steady() + LOADING_MOST_S
        for poll in itertools.count():
            if self.steady() >= ends:
                break
            if self.is_ready(payload_id):
                with suppress(OSError):  # it is just being closed
                    drop_cached_pages((self.paths.payloads / payload_id).iterdir())
                return None
            if poll % LOOK_EVERY == LOOK_EVERY - 1 and self.is_corrupted(payload_id):
                return Obstacle(BoxCode.PAYLOAD_CORRUPTED, "A block of its partition is not what was built.")
            self.sleep(POLL_S)
        return Obstacle(BoxCode.ENGINE_FAILED, f"Its engine did not load the model within {LOADING_MOST_S:.0f} s.")

    def is_ready(self, payload_id: str) -> bool:
        """Whether the engine says on its socket that the model is loaded."""
        connection = _UnixConnection(self.paths.engine_socket(payload_id))
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def is_corrupted(self, payload_id: str) -> bool:
        """Whether verity has refused a block since the payload was opened."""
        try:
            return volumes.is_corrupted(self.execute(volumes.verity_status(volumes.verity_name(payload_id))))
        except ToolError:
            return False

    def stop(self, payload_id: str) -> None:
        """Stop an engine and close its payload: the kernel forgets the volume key. May be tried again.

        Raises:
            OperationError: the engine runs or the payload is open; every step was tried.
        """
        failures = self._attempt([["systemctl", "stop", unit(payload_id)]])
        closing = self._attempt(volumes.close_payload(payload_id, self.paths.payloads / payload_id))
        # A step may fail because an earlier try has done it: what the kernel still has is what counts.
        if volumes.is_open(self.execute(volumes.list_devices()), payload_id):
            failures += closing
        if failures:
            raise OperationError(f"Payload {payload_id} is not wholly closed: {failures[0]}")

    def _attempt(self, steps: Sequence[volumes.Argv]) -> list[str]:
        """Run every step; what went wrong."""
        failures: list[str] = []
        for step in steps:
            try:
                self.execute(step, timeout_s=STOP_TIMEOUT_S)
            except OperationError as error:
                failures.append(str(error))
        return failures


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket. Not httpx: the engines are started before anything that takes long to import."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=HEALTH_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(HEALTH_S)
        self.sock.connect(str(self._path))


def open_models(payloads: Sequence[PayloadStatus]) -> list[PayloadStatus]:
    """Payloads that an engine can serve."""
    return [payload for payload in payloads if payload.state is PayloadState.OPEN and payload.kind == PayloadKind.MODEL]


def start_models(paths: Paths) -> None:
    """Start the engines of everything that this boot has opened; those that run already stay as they are."""
    boot = load_boot_result(paths)
    if boot.state is BoxState.UNLOCKED:
        Engines(paths).start(open_models(boot.payloads))


def restart_box(execute: Callable[..., str] = run) -> None:
    """Restart the machine: the only way to another unsealing."""
    execute(["systemctl", "reboot"])
