"""No plaintext of weights stays in the page cache: neither as the engine loads them nor after the agent has looked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance.agent import Agent
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.engines import Engines
from sealwright_appliance.lease_keeper import Actions, LeaseKeeper
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import BootResult, PayloadState, PayloadStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_policies.outflow import NOTHING_SAID
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
    made = Paths(root=root, gateway_group=None)
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


def test_an_engine_leaves_nothing_in_the_page_cache(paths: Paths) -> None:
    """With the flags of the unit, once the agent has found it ready; answering brings nothing back."""
    model = paths.payloads / "random/model.gguf"
    with EngineProcess(paths, PAYLOAD) as engine:
        assert cached_pages(model) * os.sysconf("SC_PAGE_SIZE") < model.stat().st_size / 10
        assert Engines(paths).wait_until_ready("random") is None
        assert cached_pages(model) == 0
        answer(engine)
        assert cached_pages(model) == 0


def test_what_an_engine_that_was_started_again_has_read_is_dropped(paths: Paths) -> None:
    """systemd starts a crashed one, and nobody waits for it."""
    boot = BootResult(state=BoxState.UNLOCKED, sentence="", at=0, payloads=[PAYLOAD])
    board = StatusBoard(boot, Console([]), time.time)
    board.set_payload("random", PayloadState.SERVING)
    keeper = LeaseKeeper(board, Actions(Engines(paths).stop, lambda: None, lambda _: None), threading.Lock(), "", None)
    outflow = BoxOutflow(paths.outflow_used, NOTHING_SAID, frozenset())
    agent = Agent(paths, board, keeper, Engines(paths), None, ApiKeys(paths.api_keys), outflow, clean_every_s=0.1)
    model = paths.payloads / "random/model.gguf"
    model.read_bytes()
    assert cached_pages(model) > 0
    thread = threading.Thread(target=agent.keep_page_cache_clean)
    thread.start()
    try:
        wait_until(lambda: not cached_pages(model))
    finally:
        keeper.stop.set()
        thread.join()


@pytest.mark.parametrize("mode", ["none", "mmap"])
def test_other_ways_of_loading_leave_most_of_it(paths: Paths, mode: str) -> None:
    """What the flag is for, and that the measurement sees it. The last flag wins."""
    assert unit_command()[unit_command().index("--load-mode") + 1] == "dio"
    model = paths.payloads / "random/model.gguf"
    with EngineProcess(paths, PAYLOAD, ("--load-mode", mode)) as engine:
        answer(engine)
        # Not all: the kernel may want some of it for others.
        assert cached_pages(model) * os.sysconf("SC_PAGE_SIZE") > model.stat().st_size / 2
