"""Engines: one systemd unit per open model. :mod:`.unlock` writes what each is told and says which are loaded first,
:mod:`.volume_service` starts and stops them, the agent waits for them here."""

from __future__ import annotations

import http.client
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.engine_placement import (
    CACHE_SHARE,
    MIB,
    Placement,
    engine_room_mib,
    longest_context,
    need_mib,
)
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_engines, load_outflow
from sealwright_appliance.results import ADAPTER, ADAPTER_LIMIT, OWN_ADAPTERS
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.engines import EngineNeed
from sealwright_policies.errors import OperationError
from sealwright_policies.workloads import ReleaseWorkloads

LOADING_MOST_S = 900.0
LOADING_DEATHS = 6
"""So often in a row may an engine die as it loads; its unit's intervals (RestartSteps) are at their longest by then."""
POLL_S = 0.25
HEALTH_S = 5.0
LOOK_EVERY = 4
"""Polls between two looks at the unit, and five times as many between two for corruption: each starts a program."""
PARALLEL_REQUESTS = 4
CACHE_MOST_MIB = 8192
"""llama.cpp's own limit (--cache-ram), which asks nobody how much memory there is."""
DIED = Obstacle(BoxCode.ENGINE_FAILED, "Its engine dies as it loads the model.")
EMBEDDED_TOKENS = 2048
"""Of the longest text that gets an embedding: it must fit into one batch of the engine."""
SERVED = frozenset({str(PayloadKind.MODEL), ADAPTER, OWN_ADAPTERS})
"""Kinds of payloads that engines serve."""


def unit(payload_id: str) -> str:
    """The unit that runs a payload's engine."""
    return f"sealwright-engine@{payload_id}.service"


@dataclass(frozen=True, slots=True)
class ObservedEngine:
    """What systemd says of an engine."""

    runs: bool
    """Also one that is about to, or is to be started again after it has died."""
    deaths: int
    """Since it was last started by order."""


def show_engine(payload_id: str) -> list[str]:
    """The call whose output :func:`observed_engine` reads."""
    properties = ("ActiveState", "SubState", "Job", "NRestarts")
    return ["systemctl", "show", *(f"--property={one}" for one in properties), unit(payload_id)]


def observed_engine(shown: str) -> ObservedEngine:
    """Of a unit; one that waits to be started again is "activating" (systemd.service(5)), and not yet counted."""
    states = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    active, job, restarts = states.get("ActiveState"), states.get("Job", "0"), states.get("NRestarts", "")
    deaths = (int(restarts) if restarts.isdecimal() else 0) + (states.get("SubState") == "auto-restart")
    return ObservedEngine(active in {"active", "activating", "reloading"} or job not in {"", "0"}, deaths)


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


def processor_cores(siblings: Iterable[str]) -> int:
    """Cores, by what the kernel says of each processor: which others share its core. At least 1.

    Two threads of a core share what multiplies matrices, so an engine's second one there would wait for the first.
    """
    return max(1, len({one.strip() for one in siblings}))


def cores_here() -> int:
    """Cores of this machine (Documentation/admin-guide/cputopology.rst of Linux)."""
    topology = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/core_cpus_list")
    return processor_cores(path.read_text("ascii") for path in topology)


def environment(
    paths: Paths,
    payload: PayloadStatus,
    *,
    cores: int,
    memory: int,
    engines: int,
    at_once: int = 1,
    embeddings: bool = False,
    base: PayloadStatus | None = None,
) -> str:
    """Environment file of an engine unit.

    Args:
        cores: of the machine, shared by the engines that can be loaded at once.
        memory: bytes in the box.
        engines: of the release, which share what is kept of past prompts.
        at_once: how many engines can be loaded together.
        embeddings: whether hidden states may leave the model; else the engine does not make any.
        base: the model that an adapter changes.

    One core stays free: with all of them busy, llama.cpp's threads wait for each other (28 tokens/s became 1.2).
    """
    threads = max(1, (cores - 1) // max(1, at_once))
    own = paths.payloads / payload.payload_id / payload.file_name
    model = own if base is None else paths.payloads / base.payload_id / base.file_name
    # Those of the customer are named when the engine starts: they come and go while the box runs.
    adapter = f"--lora {own}" if payload.kind == ADAPTER else ""
    # A kept prompt is found again by its tokens alone, whichever adapter it was read with.
    cache = 0 if payload.kind == OWN_ADAPTERS else prompt_cache_mib(memory, engines)
    vectors = f"LLAMA_ARG_EMBEDDINGS=1\nLLAMA_ARG_UBATCH={EMBEDDED_TOKENS}\n" if embeddings else ""
    # Of all slots. Fitting is for whoever knows of the other engines: llama.cpp would take all memory for its own.
    slots = payload.context * PARALLEL_REQUESTS
    context = f"LLAMA_ARG_CTX_SIZE={slots}\nLLAMA_ARG_FIT=off\n" if slots else ""
    return (
        f"SEALWRIGHT_MODEL={model}\nSEALWRIGHT_ADAPTER={adapter}\n{context}{vectors}"
        f"LLAMA_ARG_THREADS={threads}\nOMP_NUM_THREADS={threads}\nLLAMA_ARG_N_PARALLEL={PARALLEL_REQUESTS}\n"
        f"LLAMA_ARG_CACHE_RAM={cache}\n"
    )


def placed(
    paths: Paths, payloads: Sequence[PayloadStatus], plans: ReleaseWorkloads, room_mib: int
) -> list[PayloadStatus]:
    """Payloads with what their engines get; one that never fits into the room has failed, and says so."""
    needs = {one.payload_id: _need(paths, one, plans) for one in open_models(payloads)}
    longest = longest_context(room_mib, [need for need in needs.values() if need is not None])
    return [_placed(one, needs.get(one.payload_id), longest, room_mib) for one in payloads]


def _need(paths: Paths, payload: PayloadStatus, plans: ReleaseWorkloads) -> EngineNeed | None:
    """What its engine needs; an adapter's has its model in memory, too. None where the root does not say."""
    known = load_engines(paths).models
    if payload.base is None:
        return known.get(payload.payload_id)
    if (base := known.get(payload.base)) is None:
        return None
    if payload.kind == OWN_ADAPTERS:
        own = plans.adapters[payload.payload_id].own * ADAPTER_LIMIT // MIB
    else:
        own = (paths.payloads / payload.payload_id / payload.file_name).stat().st_size // MIB + 1
    return base.model_copy(update={"memory_mib": base.memory_mib + own})


def _placed(payload: PayloadStatus, need: EngineNeed | None, longest: int, room_mib: int) -> PayloadStatus:
    if need is None:
        return payload
    taken = need_mib(need, longest)
    found = payload.model_copy(update={"memory_mib": taken, "context": min(need.context, longest)})
    if taken <= room_mib:
        return found
    sentence = f"Its engine needs {taken} MiB of memory, and this machine has {room_mib} MiB for engines."
    return found.model_copy(
        update={"state": PayloadState.FAILED, "code": BoxCode.MODEL_TOO_LARGE, "sentence": sentence}
    )


def room_here_mib() -> int:
    """Memory that engines may have together on this machine."""
    return engine_room_mib(memory_bytes() // MIB)


def prepare_engines(paths: Paths, payloads: Sequence[PayloadStatus], plans: ReleaseWorkloads, room_mib: int) -> None:
    """Write the environment of each payload's engine, without which none is started, and mark those to load first.

    Args:
        payloads: models, and adapters with theirs; placed.
        plans: which model an adapter changes.
        room_mib: memory of all engines together.
    """
    models = {payload.payload_id: payload for payload in payloads}
    cores, memory, outflow = cores_here(), memory_bytes(), load_outflow(paths)
    placement = Placement(room_mib, {payload.payload_id: payload.memory_mib for payload in payloads})
    for payload in payloads:
        text = environment(
            paths,
            payload,
            cores=cores,
            memory=memory,
            engines=len(payloads),
            at_once=placement.most_at_once,
            embeddings=outflow.of(payload.payload_id).embeddings,
            base=None if payload.base is None else models[payload.base],
        )
        write_durably(paths.engine_environments / payload.payload_id, text.encode("utf-8"))
    for name in placement.first:
        if models[name].kind != OWN_ADAPTERS:  # there may be none
            write_durably(paths.engine_starts / name, b"")


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of this boot."""

    paths: Paths
    is_corrupted: Callable[[str], bool]
    """Whether verity has refused a block of a payload (:mod:`.volume_service`)."""
    observe: Callable[[str], ObservedEngine]
    """What systemd says of a payload's engine; raises OperationError if nobody knows."""
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait_until_ready(self, payload_id: str, deaths: int = LOADING_DEATHS) -> Obstacle | None:
        """Wait until an engine answers; the reason if it never will.

        Args:
            deaths: with which of them, counted since its start, the wait is over.
        """
        ends = self.steady() + LOADING_MOST_S
        for poll in itertools.count(1):
            if self.steady() >= ends:
                break
            if self.is_ready(payload_id):
                return None
            died = poll % LOOK_EVERY == 0 and self._has_died(payload_id, deaths)
            if (died or poll % (5 * LOOK_EVERY) == 0) and self.is_corrupted(payload_id):
                return Obstacle(BoxCode.PAYLOAD_CORRUPTED, "A block of its partition is not what was built.")
            if died:
                return DIED
            self.sleep(POLL_S)
        return Obstacle(BoxCode.ENGINE_FAILED, f"Its engine did not load the model within {LOADING_MOST_S:.0f} s.")

    def _has_died(self, payload_id: str, deaths: int) -> bool:
        try:
            seen = self.observe(payload_id)
        except OperationError:
            return False
        return not seen.runs or seen.deaths >= deaths

    def given_up(self, payload_id: str, failure: Obstacle, close: Callable[[str], None]) -> Obstacle:
        """Close a payload whose engine will never answer, or systemd starts it again for ever; what to say of it."""
        try:
            close(payload_id)
        except OperationError as error:
            return replace(failure, sentence=f"{failure.sentence} {error}")
        return failure

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
