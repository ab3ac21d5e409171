"""Engine units: what they are told, and when they are ready."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.engines import (
    CACHE_MOST_MIB,
    DIED,
    LOADING_DEATHS,
    LOADING_MOST_S,
    Engines,
    ObservedEngine,
    environment,
    prepare_engines,
    prompt_cache_mib,
)
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.errors import OperationError
from sealwright_policies.outflow import OutflowPolicy, ReleaseOutflow
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import NO_WORKLOADS

PAYLOAD = PayloadStatus(
    payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN
)
MEMORY = 16 * 2**30
ROOM = 1024


def loads(_: str) -> ObservedEngine:
    """It does not die."""
    return ObservedEngine(runs=True, deaths=0)


def seconds() -> Iterator[float]:
    """One passes from look to look."""
    return itertools.count(0.0)


def test_one_core_stays_free_and_the_others_are_shared_by_engines_that_can_be_loaded_at_once() -> None:
    """All of them busy makes every thread wait for the others."""
    text = environment(Paths(), PAYLOAD, cores=8, memory=MEMORY, engines=5, at_once=2)
    assert "LLAMA_ARG_THREADS=3\n" in text
    assert "SEALWRIGHT_MODEL=/run/sealwright/payloads/medical/model.gguf\n" in text
    assert "LLAMA_ARG_THREADS=1\n" in environment(Paths(), PAYLOAD, cores=1, memory=MEMORY, engines=2)


def test_past_prompts_take_a_share_of_the_memory() -> None:
    """llama.cpp alone would take 8 GiB for each engine, also where there are fewer."""
    assert "LLAMA_ARG_CACHE_RAM=1024\n" in environment(Paths(), PAYLOAD, cores=8, memory=MEMORY, engines=2)


@given(memory=st.integers(0, 2**50), engines=st.integers(0, 64))
def test_all_prompt_caches_together_stay_within_their_share(memory: int, engines: int) -> None:
    """And never below none, which would mean no limit."""
    each = prompt_cache_mib(memory, engines)
    assert 0 <= each <= CACHE_MOST_MIB
    assert each * max(1, engines) * 2**20 <= memory / 8


def test_an_engine_is_told_before_it_starts(tmp_path: Path) -> None:
    """The unit reads the file that is there before it starts."""
    paths = Paths(root=tmp_path)
    prepare_engines(paths, [PAYLOAD], NO_WORKLOADS, ROOM)
    assert "SEALWRIGHT_MODEL=" in (paths.engine_environments / "medical").read_text()


def test_an_engine_makes_vectors_only_where_they_may_leave(tmp_path: Path) -> None:
    """By the policy of its model in the measured root."""
    paths = Paths(root=tmp_path)
    for may in (True, False):
        outflow = ReleaseOutflow(version=1, models={"medical": OutflowPolicy(embeddings=may)})
        write_durably(paths.outflow, document_bytes(outflow))
        prepare_engines(paths, [PAYLOAD], NO_WORKLOADS, ROOM)
        assert ("LLAMA_ARG_EMBEDDINGS=1\n" in (paths.engine_environments / "medical").read_text()) is may


def test_a_corrupted_payload_is_named(tmp_path: Path) -> None:
    """The engine never gets ready, and verity has seen why."""
    engines = Engines(Paths(root=tmp_path), lambda _: True, loads, sleep=lambda _: None)
    obstacle = engines.wait_until_ready("medical")
    assert obstacle is not None
    assert obstacle.code == BoxCode.PAYLOAD_CORRUPTED


def test_an_engine_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After a bounded time."""
    times = iter([0.0, 1.0, LOADING_MOST_S + 1])
    engines = Engines(Paths(root=tmp_path), lambda _: False, loads, lambda: next(times), lambda _: None)
    obstacle = engines.wait_until_ready("medical")
    assert obstacle is not None
    assert obstacle.code == BoxCode.ENGINE_FAILED


@pytest.mark.parametrize("corrupted", [False, True])
def test_an_engine_that_goes_on_dying_is_given_up_long_before(tmp_path: Path, *, corrupted: bool) -> None:
    """And it is told of verity, if that is what ends it."""
    seen: list[int] = []

    def observe(_: str) -> ObservedEngine:
        seen.append(len(seen))
        return ObservedEngine(runs=True, deaths=seen[-1])

    engines = Engines(
        Paths(root=tmp_path), lambda _: corrupted and len(seen) > 1, observe, seconds().__next__, lambda _: None
    )
    obstacle = engines.wait_until_ready("medical")
    assert obstacle is not None
    assert obstacle.code == (BoxCode.PAYLOAD_CORRUPTED if corrupted else BoxCode.ENGINE_FAILED)
    assert seen[-1] <= LOADING_DEATHS
    assert (obstacle == DIED) is not corrupted


def test_an_engine_that_has_ended_and_is_not_started_again_is_given_up_at_once(tmp_path: Path) -> None:
    out = ObservedEngine(runs=False, deaths=0)
    engines = Engines(Paths(root=tmp_path), lambda _: False, lambda _: out, seconds().__next__, lambda _: None)
    assert engines.wait_until_ready("medical") == DIED


def test_an_engine_is_waited_for_while_nobody_knows_of_its_unit(tmp_path: Path) -> None:
    def observe(_: str) -> ObservedEngine:
        raise OperationError("The volume service does not answer.")

    engines = Engines(Paths(root=tmp_path), lambda _: False, observe, seconds().__next__, lambda _: None)
    obstacle = engines.wait_until_ready("medical")
    assert obstacle is not None
    assert obstacle != DIED


def test_an_engine_is_ready_when_its_socket_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """200 from /health; anything else, or nobody there, is not yet."""
    paths = Paths(root=tmp_path_factory.mktemp("box"))  # a socket's path may have 107 bytes
    place = paths.engine_socket("medical")
    place.parent.mkdir(parents=True)
    engines = Engines(paths, lambda _: False, loads)
    assert not engines.is_ready("medical")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        for status, ready in ((503, False), (200, True)):
            thread = threading.Thread(target=_answer_once, args=(listener, status))
            thread.start()
            assert engines.is_ready("medical") is ready
            thread.join()


def _answer_once(listener: socket.socket, status: int) -> None:
    connection, _ = listener.accept()
    with connection:
        asked = connection.recv(4096)
        assert asked.startswith(b"GET /health ")
        connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
