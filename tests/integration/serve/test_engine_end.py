"""What ends an engine, and what does not: the longest text without a break, and being asked to end."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sealwright_appliance.paths import Paths
from sealwright_appliance.serve.unbroken import LONGEST_RUN, has_long_run
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_testing.engine_process import UNIT, EngineProcess
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf

PAYLOAD = PayloadStatus(
    payload_id="random", kind="model", domain="random", file_name="model.gguf", state=PayloadState.OPEN
)
CUT_BY_A_REGULAR_EXPRESSION = ("gpt-4o", "tekken", "deepseek-llm", "deepseek-v3")
"""Names of tokenizers for which llama.cpp has no code of its own."""
TINY = RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=1, vocabulary=300)
KINDS = ("a", "A", "7", "!", " ", "\n", "好", "😀", "e\u0301")


def mounted(tmp_path: Path) -> tuple[Paths, Path]:
    """A box's places, and where the model would be."""
    paths = Paths(root=tmp_path, gateway_group=None, agent_user=None)
    model = paths.payloads / "random/model.gguf"
    model.parent.mkdir(parents=True)
    return paths, model


@pytest.mark.parametrize("tokenizer", CUT_BY_A_REGULAR_EXPRESSION)
def test_the_longest_text_without_a_break_does_not_end_an_engine(tmp_path: Path, tokenizer: str) -> None:
    """Two runs in a row may be one piece. With 32 768 characters each of these engines ends by SIGSEGV."""
    paths, model = mounted(tmp_path)
    write_random_gguf(model, dataclasses.replace(TINY, cut=tokenizer))
    runs = [(kind * LONGEST_RUN)[:LONGEST_RUN] for kind in KINDS]
    assert not any(map(has_long_run, runs))
    engine = EngineProcess(paths, PAYLOAD)
    with engine, engine.client() as client:
        for one in runs:
            for other in (*runs, "."):
                reply = client.post("/tokenize", json={"content": f"What is {one}{other}?"})
                assert reply.status_code == httpx.codes.OK, (one[:2], other[:2])


def test_an_engine_that_answers_somebody_does_not_end_when_it_is_asked_to(random_model: Path, tmp_path: Path) -> None:
    """So the unit says how long systemd waits. When this fails, llama.cpp has been mended, and the line may go."""
    paths, model = mounted(tmp_path)
    shutil.copyfile(random_model, model)
    (stop_time,) = [line for line in UNIT.read_text().splitlines() if line.startswith("TimeoutStopSec=")]
    seconds = float(stop_time.removeprefix("TimeoutStopSec=").removesuffix("s"))
    engine = EngineProcess(paths, PAYLOAD)
    engine.start()
    body = {"prompt": "hello", "n_predict": 30_000, "ignore_eos": True, "stream": True}

    def ask() -> None:
        with (
            suppress(httpx.HTTPError),
            engine.client() as client,
            client.stream("POST", "/completion", json=body) as it,
        ):
            began.set()
            for _ in it.iter_bytes():
                pass

    began = threading.Event()
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert began.wait(60)
        assert engine.process is not None
        engine.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            engine.process.wait(seconds)
    finally:
        engine.kill()
        asking.join()
