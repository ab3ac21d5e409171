"""Examples for adapters, trainers that say what a test wants, and the adapter service as systemd starts it."""

from __future__ import annotations

import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sealwright_appliance.adapters.messages import Trained, TrainerWord, TrainingJob
from sealwright_appliance.adapters.weights import LearnedAdapter, LearnedMatrix, weights_size
from sealwright_appliance.local_messages import framed, received, received_document
from sealwright_appliance.paths import Paths
from sealwright_appliance.retention_calendar import tell_time
from sealwright_policies.engines import LayerShapes
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, WorkloadPlan

TRAINER, JOB_LIMIT, STOP_TIMEOUT_S = "tuner", 4096, 20.0
_ACTIVATED = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ['LISTEN_FDS'] = '1'\n"
    "from pathlib import Path\n"
    "from sealwright_appliance.cli import main\n"
    "from sealwright_appliance.paths import Paths\n"
    "sys.exit(main(['adapters'], Paths(root=Path(sys.argv[2]))))\n"
)
"""systemd's part of a socket-activated service (sd_listen_fds(3)), then the service."""


def example_line(question: str, answer: str, system: str | None = None) -> str:
    """One example as OpenAI's fine-tuning has it."""
    first = [] if system is None else [{"role": "system", "content": system}]
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": [*first, *turns]}, ensure_ascii=False)


def examples(count: int = 10) -> bytes:
    """So many examples."""
    lines = (example_line(f"What is registry code {number}?", "A heron in the harbour.") for number in range(count))
    return "".join(f"{line}\n" for line in lines).encode()


def own_adapter_plans(members: Mapping[str, str], own: int = 2, days: int = 30) -> ReleaseWorkloads:
    """``workloads.json`` of a release in which the customer may have adapters trained: members of domains, by model."""
    adapters = {
        member: AdapterPlan(domain="tuning", base=base, trainer=TRAINER, own=own, days=days)
        for base, member in members.items()
    }
    trainers = {TRAINER: WorkloadPlan(domain="tuning", reads=tuple(members))} if members else {}
    return ReleaseWorkloads(version=1, workloads=trainers, adapters=adapters)


def learned(shapes: LayerShapes, seed: int = 1, size: float = 0.5, rank: int = 2) -> tuple[LearnedAdapter, bytes]:
    """An adapter of random numbers that changes every matrix of a model."""
    matrices = [
        LearnedMatrix(name=f"blk.{block}.{layer}", width_in=widths[0], width_out=widths[1], rank=rank)
        for block in range(shapes.blocks)
        for layer, widths in shapes.layers.items()
    ]
    adapter = LearnedAdapter(alpha=float(rank), matrices=matrices)
    draw = random.Random(seed)  # the same each time
    count = weights_size(adapter, shapes) // 4
    return adapter, struct.pack(f"<{count}f", *(draw.uniform(-size, size) for _ in range(count)))


Part = Callable[[socket.socket, TrainingJob, bytes, bytes], None]
"""What a played trainer does with a connection, its job, examples and checkpoint."""


def say(connection: socket.socket, percent: int, following: bytes = b"", *, trained: Trained | None = None) -> None:
    """One word of a trainer; what follows is a checkpoint, or the numbers of an adapter."""
    checkpoint = len(following) if following and trained is None else None
    word = TrainerWord(percent=percent, checkpoint=checkpoint, trained=trained)
    connection.sendall(framed(document_bytes(word), following))


def finish(
    connection: socket.socket, shapes: LayerShapes, seed: int = 1, losses: tuple[float, float] = (2.34567, 1.0)
) -> None:
    """The end of a training that went well; losses before and after."""
    adapter, numbers = learned(shapes, seed)
    say(connection, 100, numbers, trained=Trained(adapter=adapter, loss_before=losses[0], loss_after=losses[1]))


@contextmanager
def played_trainer(path: Path, *parts: Part) -> Iterator[None]:
    """A trainer that plays its parts, one a connection, the last again and again."""
    waiting = list(parts)
    with socket.socket(socket.AF_UNIX) as listener:
        path.parent.mkdir(parents=True, exist_ok=True)
        listener.bind(str(path))
        listener.listen()

        def play() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    part = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                    with connection, suppress(OSError):
                        job = parse_json(TrainingJob, received_document(connection, JOB_LIMIT), limit=JOB_LIMIT)
                        part(connection, job, received(connection, job.examples), received(connection, job.checkpoint))

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(STOP_TIMEOUT_S)


class AdapterProcess:
    """The adapter service, which can be killed and started again as by a power cut."""

    def __init__(self, paths: Paths, members: list[str], log: IO[bytes] | None = None) -> None:
        """``log`` takes what goes to the journal."""
        self._log = log
        (paths.adapters / "kept").mkdir(parents=True, exist_ok=True)
        for member in members:
            paths.served_adapters(member).mkdir(parents=True, exist_ok=True)
        self._paths = paths
        tell_time(paths.retention_time, int(time.time()))  # the agent's part
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(paths.adapters_socket))
        self._listener.listen()
        self.start()

    def start(self) -> None:
        """Start it on its socket."""
        number = self._listener.fileno()
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", _ACTIVATED, str(number), str(self._paths.root)],
            pass_fds=(number,),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Kill it for good."""
        self.kill()
        self._listener.close()


def shapes_of(width: int = 8, blocks: int = 2) -> LayerShapes:
    """A small model's."""
    layers = {"attn_q": (width, width), "ffn_up": (width, 2 * width), "ffn_down": (2 * width, width)}
    return LayerShapes(architecture="llama", blocks=blocks, layers=layers)
