"""Engines: one systemd unit per open model. :mod:`.unlock` writes what each is told, :mod:`.volume_service` starts and
stops them, the agent waits for them here."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_outflow
from sealwright_appliance.results import ADAPTER
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.workloads import NO_WORKLOADS, ReleaseWorkloads

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
EMBEDDED_TOKENS = 2048
"""Of the longest text that gets an embedding: it must fit into one batch of the engine."""
MIB = 1024 * 1024
SERVED = frozenset({str(PayloadKind.MODEL), ADAPTER})
"""Kinds of payloads that engines serve."""


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


def environment(
    paths: Paths,
    payload: PayloadStatus,
    *,
    processors: int,
    memory: int,
    engines: int,
    embeddings: bool = False,
    base: PayloadStatus | None = None,
) -> str:
    """Environment file of an engine unit.

    Args:
        embeddings: whether hidden states may leave the model; else the engine does not make any.
        base: the model that an adapter changes.

    One processor stays free: with all of them busy, llama.cpp's threads wait for each other (28 tokens/s became 1.2).
    """
    threads = max(1, (processors - 1) // max(1, engines))
    own = paths.payloads / payload.payload_id / payload.file_name
    model = own if base is None else paths.payloads / base.payload_id / base.file_name
    adapter = "" if base is None else f"--lora {own}"
    vectors = f"LLAMA_ARG_EMBEDDINGS=1\nLLAMA_ARG_UBATCH={EMBEDDED_TOKENS}\n" if embeddings else ""
    return vectors + (
        f"SEALWRIGHT_MODEL={model}\nSEALWRIGHT_ADAPTER={adapter}\nLLAMA_ARG_THREADS={threads}\nLLAMA_ARG_N_PARALLEL={PARALLEL_REQUESTS}\n"
        f"OMP_NUM_THREADS={threads}\nLLAMA_ARG_CACHE_RAM={prompt_cache_mib(memory, engines)}\n"
    )


def prepare_engines(paths: Paths, payloads: Sequence[PayloadStatus], plans: ReleaseWorkloads = NO_WORKLOADS) -> None:
    """Write the environment of each payload's engine: what is written is started, and started again.

    Args:
        payloads: models, and adapters with theirs.
        plans: which model an adapter changes.
    """
    models = {payload.payload_id: payload for payload in payloads}
    processors, memory, outflow = os.cpu_count() or 1, memory_bytes(), load_outflow(paths)
    for payload in payloads:
        text = environment(
            paths,
            payload,
            processors=processors,
            memory=memory,
            engines=len(payloads),
            embeddings=outflow.of(payload.payload_id).embeddings,
            base=models[plans.adapters[payload.payload_id].base] if payload.kind == ADAPTER else None,
        )
        write_durably(paths.engine_environments / payload.payload_id, text.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of this boot."""

    paths: Paths
    is_corrupted: Callable[[str], bool]
    """Whether verity has refused a block of a payload (:mod:`.volume_service`)."""
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait_until_ready(self, payload_id: str) -> Obstacle | None:
        """Wait until an engine answers; the reason if it never will."""
        ends = self.steady() + LOADING_MOST_S
        for poll in itertools.count():
            if self.steady() >= ends:
                break
            if self.is_ready(payload_id):
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
    return [payload for payload in payloads if payload.state is PayloadState.OPEN and payload.kind in SERVED]
