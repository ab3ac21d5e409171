"""Two ways through llama.cpp, llama-server behind its adapter and llama-cpp-python in this process, say the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.engine_inprocess import InProcessEngine
from sealwright_appliance.engine_llama_server import LlamaServer
from sealwright_appliance.serve.engine import Engine
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_testing.models import ModelStore
from sealwright_testing.models.build import make_models
from sealwright_testing.serving import ServingBox, serving_box

QUESTIONS = ("hello", "What is metformin?", "什么是利率？", "")
CONTEXT_TOKENS = 512


def request(question: str, *, limit: int) -> dict[str, Any]:
    """A greedy request as the gateway hands it on."""
    return {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": limit}


async def whole(engine: Engine, asked: dict[str, Any]) -> tuple[str, str]:
    """Answer and reason for its end, from a whole reply."""
    choice = json.loads(await engine.whole(asked, _tally()))["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


async def streamed(engine: Engine, asked: dict[str, Any]) -> tuple[str, str]:
    """The same from a streamed reply."""
    body = b"".join([block async for block in engine.stream(asked | {"stream": True}, _tally())])
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices), reasons[-1]


def _tally() -> Tally:
    return Meter().tally("model", "key")


def answers(engine: Engine, questions: Sequence[str], *, limit: int) -> list[tuple[str, str]]:
    """Answers of one engine, whole and streamed; the two must not differ."""

    async def run() -> list[tuple[str, str]]:
        found = []
        for question in questions:
            asked = request(question, limit=limit)
            found.append(await whole(engine, asked))
            assert await streamed(engine, asked) == found[-1]
        return found

    return asyncio.run(run())


def served(box: ServingBox, name: str) -> LlamaServer:
    """The gateway's adapter to the engine of a model."""
    return LlamaServer(name, box.engines[name].socket)


def in_process(name: str, model: Path) -> InProcessEngine:
    """The other engine."""
    return InProcessEngine(name, model, context_tokens=CONTEXT_TOKENS, threads=1)


def test_random_weights_say_the_same(box: ServingBox, random_model: Path) -> None:
    """Nothing is learned by heart here: every token hangs on the numbers."""
    ours = answers(served(box, "random"), QUESTIONS, limit=32)
    assert ours == answers(in_process("random", random_model), QUESTIONS, limit=32)


@pytest.mark.timeout(1800)
def test_bundled_models_say_the_same_and_are_right() -> None:
    """Every sample question; the answers are those of when the models were made."""
    make_models()
    store = ModelStore.load()
    models: Mapping[str, Path] = {name: store.path(name) for name in store.names}
    with serving_box(models) as box:
        for name, samples in store.samples().items():
            questions = [sample.question for sample in samples]
            ours = answers(served(box, name), questions, limit=160)
            assert ours == answers(in_process(name, models[name]), questions, limit=160)
            assert [answer for answer, _ in ours] == [sample.answer for sample in samples]
