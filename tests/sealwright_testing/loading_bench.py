"""How long an engine takes to load 1.1 G weights (620 MB), against reading their file once, both past the cache.

llama.cpp changes the layout of some weights as it loads them (*repacking*), which is processor time; so the same load
without it is measured too. Each side begins with nothing of the file in the page cache.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_testing.bench import Figure, figure, in_turns, ratio
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.models.random_gguf import SHAPES, write_random_gguf

ROUNDS = 5
CHUNK = 4 * 2**20
PAYLOAD = PayloadStatus(
    payload_id="large", kind="model", domain="large", file_name="model.gguf", state=PayloadState.OPEN
)
READING = "reading the file with O_DIRECT, in turns"


def measure_loading(folder: Path) -> Iterator[Figure]:
    """All figures; leaves nothing behind in ``folder``."""
    paths = Paths(root=folder / "l", gateway_group=None, agent_user=None)
    model = paths.payloads / PAYLOAD.payload_id / PAYLOAD.file_name
    model.parent.mkdir(parents=True)
    write_random_gguf(model, SHAPES["1.1b"])
    with model.open("rb") as stream:
        os.fsync(stream.fileno())
    whole, plain, read = in_turns(
        ROUNDS,
        lambda: _loaded(paths, model, ()),
        lambda: _loaded(paths, model, ("--no-repack",)),
        lambda: _read(model),
    )
    model.unlink()
    yield ratio("load_vs_read", plain, read, against=READING)
    yield ratio("load_vs_read: with repacking", whole, read, against=READING)
    yield figure("read_s", read, "s")
    yield figure("load_s", whole, "s", against="to the first healthy answer, repacking included")


def _forget(model: Path) -> None:
    descriptor = os.open(model, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _loaded(paths: Paths, model: Path, options: tuple[str, ...]) -> float:
    """Seconds from the engine's start until it answers."""
    _forget(model)
    engine = EngineProcess(paths, PAYLOAD, options)
    begin = time.perf_counter()
    with engine:
        return time.perf_counter() - begin


def _read(model: Path) -> float:
    """Seconds to read all of it."""
    _forget(model)
    buffer = mmap.mmap(-1, CHUNK)
    begin = time.perf_counter()
    descriptor = os.open(model, os.O_RDONLY | os.O_DIRECT)
    while os.readv(descriptor, [buffer]):
        pass
    spent = time.perf_counter() - begin
    os.close(descriptor)
    return spent
