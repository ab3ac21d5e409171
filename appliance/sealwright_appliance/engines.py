"""Engines: one systemd unit per open model, started and stopped here, closed with its volume."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from sealwright_policies.errors import OperationError

from sealwright_appliance import volumes
from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import ToolError, run
from sealwright_appliance.status import PayloadStatus

LOADING_MOST_S = 900.0
POLL_S = 0.5
HEALTH_S = 5.0
PARALLEL_REQUESTS = 4
STOP_TIMEOUT_S = 120.0


def unit(payload_id: str) -> str:
    """The unit that runs a payload's engine."""
    return f"sealwright-engine@{payload_id}.service"


def environment(paths: Paths, payload: PayloadStatus, *, processors: int, engines: int) -> str:
    """Environment file of an engine unit.

    One processor stays free: with all of them busy, llama.cpp's threads wait for each other (28 tokens/s became 1.2).
    """
    threads = max(1, (processors - 1) // max(1, engines))
    model = paths.payloads / payload.payload_id / payload.file_name
    return (
        f"SEALWRIGHT_MODEL={model}\nLLAMA_ARG_THREADS={threads}\nLLAMA_ARG_N_PARALLEL={PARALLEL_REQUESTS}\n"
        f"OMP_NUM_THREADS={threads}\n"
    )


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of this boot."""

    paths: Paths
    execute: Callable[..., str] = run
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def start(self, payload: PayloadStatus, *, engines: int) -> None:
        """Have systemd start the engine of a payload; it loads its model after this returns."""
        text = environment(self.paths, payload, processors=os.cpu_count() or 1, engines=engines)
        write_durably(self.paths.engine_environments / payload.payload_id, text.encode("utf-8"))
        self.execute(["systemctl", "start", "--no-block", unit(payload.payload_id)])

    def wait_until_ready(self, payload_id: str) -> Obstacle | None:
        """Wait until an engine answers; the reason if it never will."""
        ends = self.steady() + LOADING_MOST_S
        while self.steady() < ends:
            if self.is_ready(payload_id):
                return None
            if self.is_corrupted(payload_id):
                return Obstacle(BoxCode.PAYLOAD_CORRUPTED, "A block of its partition is not what was built.")
            self.sleep(POLL_S)
        return Obstacle(BoxCode.ENGINE_FAILED, f"Its engine did not load the model within {LOADING_MOST_S:.0f} s.")

    def is_ready(self, payload_id: str) -> bool:
        """Whether the engine says on its socket that the model is loaded."""
        transport = httpx.HTTPTransport(uds=str(self.paths.engine_sockets / f"{payload_id}.sock"))
        try:
            with httpx.Client(transport=transport, base_url="http://engine", timeout=HEALTH_S) as client:
                return client.get("/health").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def is_corrupted(self, payload_id: str) -> bool:
        """Whether verity has refused a block since the payload was opened."""
        try:
            return volumes.is_corrupted(self.execute(volumes.verity_status(volumes.verity_name(payload_id))))
        except ToolError:
            return False

    def stop(self, payload_id: str) -> None:
        """Stop an engine and close its payload: the kernel forgets the volume key.

        Raises:
            OperationError: a step failed; the steps after it were tried.
        """
        steps = [
            ["systemctl", "stop", unit(payload_id)],
            *volumes.close_payload(payload_id, self.paths.payloads / payload_id),
        ]
        failures: list[str] = []
        for step in steps:
            try:
                self.execute(step, timeout_s=STOP_TIMEOUT_S)
            except OperationError as error:
                failures.append(str(error))
        if failures:
            raise OperationError(f"Payload {payload_id} is not wholly closed: {failures[0]}")


def restart_box(execute: Callable[..., str] = run) -> None:
    """Restart the machine: the only way to another unsealing."""
    execute(["systemctl", "reboot"])
