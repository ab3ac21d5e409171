"""No plaintext of weights stays in the page cache: what loading leaves there is dropped."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_appliance.volume_service import VolumeService
from sealwright_testing.engine_process import EngineProcess, unit_command
from sealwright_testing.running_box import wait_until

PAYLOAD = PayloadStatus(
    payload_id="random", kind="model", domain="random", file_name="model.gguf", state=PayloadState.OPEN
)


def cached_pages(file: Path) -> int:
    """Pages of a file in the page cache, as the kernel counts them."""
    printed = subprocess.run(
        ["fincore", "--raw", "--noheadings", "--output", "PAGES", file], capture_output=True, text=True, check=True
    )
    return int(printed.stdout)


@pytest.fixture
def paths(random_model: Path) -> Iterator[Paths]:
    """The model where it would be mounted, on a disk (a file in memory is all page cache), none of it cached."""
    root = Path(tempfile.mkdtemp(prefix="sw-cache-", dir="/var/tmp"))
    made = Paths(root=root, gateway_group=None, agent_user=None)
    model = made.payloads / "random/model.gguf"
    model.parent.mkdir(parents=True)
    shutil.copyfile(random_model, model)
    descriptor = os.open(model, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    assert cached_pages(model) == 0
    yield made
    shutil.rmtree(root)


def answer(engine: EngineProcess) -> None:
    """Use the model once, all of its weights."""
    with engine.client() as client:
        request = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
        client.post("/v1/chat/completions", json=request).raise_for_status()


@contextmanager
def cleaned(paths: Paths) -> Iterator[None]:
    """The volume service's thread at work."""
    stop = threading.Event()
    thread = threading.Thread(target=VolumeService(paths).keep_page_cache_clean, args=(stop, 0.1))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_an_engine_leaves_nothing_in_the_page_cache(paths: Paths) -> None:
    """With the flags of the unit; what little it leaves is dropped, and answering brings nothing back."""
    model = paths.payloads / "random/model.gguf"
    with EngineProcess(paths, PAYLOAD) as engine:
        assert cached_pages(model) * os.sysconf("SC_PAGE_SIZE") < model.stat().st_size / 10
        with cleaned(paths):
            wait_until(lambda: not cached_pages(model))
        answer(engine)
        assert cached_pages(model) == 0


def test_what_an_engine_that_was_started_again_has_read_is_dropped(paths: Paths) -> None:
    """systemd starts a crashed one, and nobody waits for it."""
    model = paths.payloads / "random/model.gguf"
    with cleaned(paths):
        model.read_bytes()
        wait_until(lambda: not cached_pages(model))


@pytest.mark.parametrize("mode", ["none", "mmap"])
def test_other_ways_of_loading_leave_most_of_it(paths: Paths, mode: str) -> None:
    """What the flag is for, and that the measurement sees it. The last flag wins."""
    assert unit_command()[unit_command().index("--load-mode") + 1] == "dio"
    model = paths.payloads / "random/model.gguf"
    with EngineProcess(paths, PAYLOAD, ("--load-mode", mode)) as engine:
        answer(engine)
        # Not all: the kernel may want some of it for others.
        assert cached_pages(model) * os.sysconf("SC_PAGE_SIZE") > model.stat().st_size / 2
