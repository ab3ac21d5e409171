"""Two models and memory for one: each is loaded when it is asked, the other leaves, and nobody is cut off."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.engine_placement import CONTEXT_LEAST, need_mib
from sealwright_appliance.engines import LOADING_DEATHS
from sealwright_appliance.status import PayloadState
from sealwright_image.engine_memory import engine_need
from sealwright_image.gguf import read_gguf
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

from .conftest import CONTEXT

HELLO = [{"role": "user", "content": "hello"}]
LONG = 1500
"""Tokens of a reply that goes on while others wait."""


def need(model: Path) -> int:
    """With the least context: contexts are cut so far before models take turns."""
    return need_mib(engine_need(read_gguf(model), embeddings=False), CONTEXT_LEAST)


@pytest.fixture
def narrow(random_model: Path) -> Iterator[ServingBox]:
    """Memory for one of two."""
    with serving_box({"one": random_model, "two": random_model}, room_mib=need(random_model)) as running:
        yield running


def asked(model: str, **options: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 3} | options


def loads(box: ServingBox) -> dict[str, dict[str, Any]]:
    """What an administrator is told."""
    headers = {"Authorization": f"Bearer {box.admin_key}"}
    with httpx.Client(base_url=box.url, verify=box.trust, headers=headers, trust_env=False) as client:
        told = client.get("/admin/load").raise_for_status().json()
        return {one["id"]: one for one in told["models"]}


def metric(box: ServingBox, name: str, model: str) -> float:
    headers = {"Authorization": f"Bearer {box.admin_key}"}
    with httpx.Client(base_url=box.url, verify=box.trust, headers=headers, trust_env=False) as client:
        lines = client.get("/metrics").raise_for_status().text.splitlines()
    return float(next(line for line in lines if line.startswith(f'{name}{{model="{model}"}} ')).split()[1])


def test_each_model_answers_in_turn(narrow: ServingBox) -> None:
    """The box starts with the first; each order is seen once, and what is told of it agrees."""
    assert narrow.engines["two"].process is None
    with narrow.openai() as client:
        assert [model.id for model in client.models.list()] == ["one", "two"]
        for model in ("one", "two", "two", "one"):
            assert client.chat.completions.create(**asked(model)).choices
    assert narrow.loader.orders == [("unload", "one"), ("load", "two"), ("unload", "two"), ("load", "one")]
    told = loads(narrow)
    assert (told["one"]["presence"], told["two"]["presence"]) == ("loaded", "out")
    assert (told["one"]["ready"], told["two"]["ready"]) == (True, False)
    assert (told["one"]["loads"], told["one"]["unloads"]) == (1, 1)
    assert told["two"]["loading_s"] > 0
    assert metric(narrow, "sealwright_model_loaded", "one") == 1
    assert metric(narrow, "sealwright_model_loads_total", "two") == 1
    with narrow.http() as monitor:
        assert monitor.get("/readyz").status_code == 200


def test_all_ways_of_asking_bring_a_model_back(narrow: ServingBox) -> None:
    """Also those that want to know first what the model can."""
    with narrow.http() as http:
        for path, body in (
            ("/v1/tokenize", {"model": "two", "prompt": "hello"}),
            ("/v1/completions", {"model": "one", "prompt": "hello", "max_tokens": 2}),
            ("/v1/responses", {"model": "two", "input": "hello", "max_output_tokens": 2}),
            ("/v1/chat/completions", asked("one", stream=True)),
        ):
            reply = http.post(path, json=body)
            assert reply.status_code == 200, reply.text
    assert [model for order, model in narrow.loader.orders if order == "load"] == ["two", "one", "two", "one"]


def test_a_long_stream_is_not_cut_while_another_model_is_wanted(narrow: ServingBox) -> None:
    """Who wants the other waits, and gets an answer when the stream is over."""
    answers: list[Any] = []

    def other() -> None:
        with narrow.openai() as client:
            answers.append(client.chat.completions.create(**asked("two")))

    with narrow.openai() as client:
        options = {"stream": True, "max_tokens": LONG, "stream_options": {"include_usage": True}}
        chunks = client.chat.completions.create(**asked("one", **options))
        next(chunks)
        waits = threading.Thread(target=other)
        waits.start()
        wait_until(lambda: loads(narrow)["two"]["running"] == 1)
        rest = list(chunks)
        assert not answers
        waits.join(60)
    assert rest[-1].usage.completion_tokens == LONG
    assert answers[0].choices
    assert narrow.loader.orders == [("unload", "one"), ("load", "two")]


def test_clients_that_leave_while_they_wait_for_memory_give_their_places_back(narrow: ServingBox) -> None:
    """Waiting for memory is waiting with a place, and nobody's absence keeps one."""
    with narrow.openai() as client:
        chunks = client.chat.completions.create(**asked("one", stream=True, max_tokens=LONG))
        next(chunks)
        for _ in range(3):
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.3).chat.completions.create(**asked("two"))
        wait_until(lambda: loads(narrow)["two"]["running"] + loads(narrow)["two"]["waiting"] == 0)
        chunks.close()
        assert client.chat.completions.create(**asked("two")).choices


def test_an_engine_that_is_killed_while_it_answers_is_an_error_to_try_again(narrow: ServingBox) -> None:
    """It is not taken for one that has made room: it still has its memory, and systemd starts it again."""
    with narrow.openai() as client:
        chunks = client.chat.completions.create(**asked("one", stream=True, max_tokens=LONG))
        next(chunks)
        narrow.engines["one"].kill()
        with pytest.raises(openai.APIError) as broken:
            list(chunks)
        assert broken.value.code == "engine_unavailable"
        with pytest.raises(openai.InternalServerError) as down:
            client.chat.completions.create(**asked("one"))
        assert int(down.value.response.headers["retry-after"]) > 0
        narrow.engines["one"].start()
        assert client.chat.completions.create(**asked("one")).choices
        assert client.chat.completions.create(**asked("two")).choices
    assert narrow.loader.orders == [("unload", "one"), ("load", "two")]


def replaced(box: ServingBox, name: str, model: Path) -> None:
    """Have a payload hold another file."""
    place = box.paths.payloads / name / "model.gguf"
    place.unlink()
    place.symlink_to(model)


def refused_once(box: ServingBox) -> openai.APIStatusError:
    with box.openai() as client, pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(**asked("two"))
    return refused.value


def test_an_engine_that_is_killed_while_it_loads_is_an_error_to_try_again(
    narrow: ServingBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits hears of it at once and not when loading may have taken long enough; then it is loaded again."""
    launched: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()
    launch = EngineProcess.launch

    def held(engine: EngineProcess) -> subprocess.Popen[bytes]:
        process = launch(engine)
        process.send_signal(signal.SIGSTOP)
        launched.put(process)
        return process

    monkeypatch.setattr(EngineProcess, "launch", held)
    refused: list[openai.APIStatusError] = []
    waits = [threading.Thread(target=lambda: refused.append(refused_once(narrow))) for _ in range(3)]
    for one in waits:
        one.start()
    loading = launched.get(timeout=60)
    monkeypatch.undo()
    wait_until(lambda: loads(narrow)["two"]["running"] == 3)
    assert not refused
    loading.kill()
    for one in waits:
        one.join(60)
    assert [(one.status_code, one.code) for one in refused] == [(503, "engine_unavailable")] * 3
    assert all(int(one.response.headers["retry-after"]) > 0 for one in refused)
    with narrow.openai() as client:
        assert client.chat.completions.create(**asked("one")).choices
        again = client.with_options(max_retries=3).chat.completions.create(**asked("two"))
    assert again.choices


def test_a_file_that_ends_the_loader_is_tried_again_and_then_given_up(
    narrow: ServingBox, random_model: Path, tmp_path: Path
) -> None:
    """A file that breaks off: each try is told as one, the end by a code that says so; the other model serves."""
    half = tmp_path / "half.gguf"
    half.write_bytes(random_model.read_bytes()[: random_model.stat().st_size // 2])
    replaced(narrow, "two", half)
    codes = []
    while narrow.board.payloads_in(PayloadState.FAILED) == []:
        error = refused_once(narrow)
        codes.append(error.code)
        time.sleep(int(error.response.headers["retry-after"]))
        with narrow.openai() as client:
            assert client.chat.completions.create(**asked("one")).choices
    told = codes.index(BoxCode.ENGINE_FAILED) if BoxCode.ENGINE_FAILED in codes else len(codes)
    assert set(codes[:told]) == {"engine_unavailable"}
    assert told >= LOADING_DEATHS - 1  # more, where somebody asks before the next try
    assert refused_once(narrow).code == BoxCode.ENGINE_FAILED


def test_a_gateway_that_restarts_finds_out_what_is_loaded(narrow: ServingBox) -> None:
    """Else it would load a second model beside it."""
    with narrow.openai() as client:
        client.chat.completions.create(**asked("two"))
        narrow.restart_gateway()
        client.chat.completions.create(**asked("two"))
        client.chat.completions.create(**asked("one"))
    assert [model for _, model in narrow.loader.orders] == ["one", "two", "two", "one"]


def test_a_model_that_was_given_up_is_told_and_leaves_the_other_alone(narrow: ServingBox) -> None:
    """The agent starts no engine for it, and the gateway passes its reason on."""
    narrow.board.set_payload("two", PayloadState.FAILED, None)
    with narrow.openai() as client:
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(**asked("two"))
        assert (refused.value.status_code, refused.value.code) == (503, BoxCode.ENGINE_FAILED)
        assert client.chat.completions.create(**asked("one")).choices


def test_a_model_that_never_fits_is_refused_for_good_and_the_others_serve(random_model: Path, tmp_path: Path) -> None:
    """By a code of its own, with the numbers, and without a client's trying again."""
    small = tmp_path / "small.gguf"
    write_random_gguf(small, RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=1, vocabulary=300))
    with serving_box({"large": random_model, "small": small}, room_mib=need(small)) as box:
        (payload,) = box.board.payloads_in(PayloadState.FAILED)
        assert (payload.payload_id, payload.code) == ("large", BoxCode.MODEL_TOO_LARGE)
        with box.openai() as client:
            with pytest.raises(openai.InternalServerError) as refused:
                client.with_options(max_retries=2).chat.completions.create(**asked("large"))
            assert (refused.value.status_code, refused.value.code) == (503, "MODEL_TOO_LARGE")
            for number in (need(random_model), need(small)):
                assert f"{number} MiB" in json.dumps(refused.value.body)
            assert refused.value.response.headers["x-should-retry"] == "false"
            assert [model.id for model in client.models.list()] == ["small"]
            assert client.chat.completions.create(**asked("small")).choices
        assert box.loader.orders == []


def test_contexts_are_cut_before_models_take_turns(random_model: Path) -> None:
    """Both are in memory, each for shorter conversations; what a request may have is told as ever."""
    whole = engine_need(read_gguf(random_model), embeddings=False)
    room = need_mib(whole, CONTEXT)
    with serving_box({"one": random_model, "two": random_model}, room_mib=room) as box, box.http() as http:
        told = [http.post("/v1/tokenize", json={"model": name, "prompt": "hello"}).json() for name in ("one", "two")]
        assert box.loader.orders == []
    longest = told[0]["max_model_len"]
    assert told[1]["max_model_len"] == longest
    assert CONTEXT_LEAST <= longest < CONTEXT
    assert 2 * need_mib(whole, longest) <= room
