"""Vectors made behind everything else, over a real document service and an engine that does as told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.documents.messages import VECTORS_MOST, VectorUse
from sealwright_appliance.documents.passages import Passage
from sealwright_appliance.documents.service import DocumentService
from sealwright_appliance.documents.store import DocumentStore
from sealwright_appliance.local_messages import serve_requests
from sealwright_appliance.serve import document_vectors
from sealwright_appliance.serve.admission import Admission
from sealwright_appliance.serve.document_vectors import SHORTEST, Retrieval, VectorMaker, VectorModel
from sealwright_appliance.serve.documents import Documents
from sealwright_appliance.serve.embedded import Embedded
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.engine_room import EngineRoom
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.meter import Tally
from sealwright_appliance.serve.queued_engine import QueuedEngine
from sealwright_appliance.serve.quota import Allowance, Lacking, Quota
from sealwright_policies.engines import DocumentVectors
from sealwright_testing.vector_extension import vector_extension

PLACES = 4
RELEASE = DocumentVectors(model="vectors", passage_prefix="p:", question_prefix="q:")
MODEL = VectorModel(RELEASE, "5e" * 32)
HOLDS = 400
"""Characters that the model holds."""


class Engine:
    """Gives each text the direction of its first letter behind the prefix."""

    model_id = "vectors"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.broken = False
        self.free = asyncio.Event()
        self.free.set()

    async def embed(self, request: dict[str, Any], _: Tally) -> Embedded:
        texts: Sequence[str] = request["input"]
        self.asked.append(list(texts))
        await self.free.wait()
        if self.broken:
            raise engine_unavailable()
        if any(len(text) > HOLDS for text in texts):
            raise ApiError(400, "context_length_exceeded", "Too long.")
        return Embedded([[float(text[2:3] == letter) for letter in "abc"] for text in texts], 1)

    async def ready(self) -> bool:
        return True

    async def abilities(self) -> Abilities:
        return Abilities(tools=False, width=3, context=100, bpe=True)

    async def adapters(self) -> frozenset[str]:
        return frozenset()

    async def whole(self, request: dict[str, Any], tally: Tally) -> bytes:
        raise AssertionError

    def stream(self, request: dict[str, Any], tally: Tally) -> AsyncGenerator[bytes, None]:
        raise AssertionError

    async def count(self, request: dict[str, Any], tally: Tally) -> int:
        raise AssertionError


class Loader:
    """Engines that come and go at once."""

    def __init__(self, *running: str) -> None:
        self.running = set(running)

    async def running_engines(self) -> set[str]:
        return set(self.running)

    async def load_engine(self, model: str) -> None:
        self.running.add(model)

    async def unload_engine(self, model: str) -> None:
        self.running.discard(model)


async def _unlimited(lacking: Lacking) -> Allowance:
    return Allowance(lacking.requests, lacking.tokens, None)


class Stage:
    """What stands around a maker."""

    def __init__(self, folder: Path, loader: Loader) -> None:
        self.store = DocumentStore(folder / "documents", vector_extension())
        self.engine, self.loader, self.clock = Engine(), loader, 0.0
        self.admission = Admission(active=PLACES, waiting=8)
        self.room = EngineRoom(10, {"vectors": 6, "chat": 6}, loader, lambda: self.clock)
        queued = QueuedEngine(self.engine, self.admission, Quota(_unlimited), self.room)
        self.serving = True
        self.documents = Documents(folder / "documents.sock")
        self.maker = VectorMaker(MODEL, queued, self.documents, self.require_serving, lambda: False)
        self.retrieval = Retrieval(self.documents, self.maker)

    async def require_serving(self) -> None:
        if not self.serving:
            raise ApiError(503, "LEASE_EXPIRED", "The lease has ended.")

    def add(self, *texts: str) -> str:
        found = [Passage(text, None, at) for at, text in enumerate(texts, start=1)]
        kept = self.store.add("a.txt", 1, found, 1)
        self.maker.look()
        return kept.document_id

    def lacking(self) -> int:
        return sum(one.passages - one.with_vectors for one in self.store.all())

    async def found(self, question: str) -> tuple[list[str], VectorUse | None]:
        found, use = await self.retrieval.search(question, 9, "ward")
        return [one.text for one in found], use


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is so at once."""
    monkeypatch.setattr(document_vectors, "AGAIN_S", 0.02)
    monkeypatch.setattr(document_vectors, "PAUSE_S", 0.02)


def played(folder: Path, play: Callable[[Stage], Coroutine[Any, Any, None]], loader: Loader | None = None) -> None:
    """Run a play over a document service in a thread."""
    (folder / "documents").mkdir()

    async def run() -> None:
        stage = Stage(folder, loader or Loader("vectors"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "documents.sock"))
            listener.listen()
            service = DocumentService(stage.store, folder / "parser.sock")
            threading.Thread(target=serve_requests, args=(listener, service.respond), daemon=True).start()
            async with stage.maker.running():
                await play(stage)
            listener.shutdown(socket.SHUT_RDWR)

    asyncio.run(run())


def test_all_passages_get_vectors_a_few_at_once(short_tmp: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.add(*(f"a{number}" for number in range(2 * VECTORS_MOST + 1)))
        await until(lambda: stage.lacking() == 0)
        assert [len(texts) for texts in stage.engine.asked] == [VECTORS_MOST, VECTORS_MOST, 1]
        assert stage.engine.asked[0][0] == "p:a0"
        found, use = await stage.found("a?")
        assert (found[0], use) == ("a0", VectorUse.USED)
        assert stage.engine.asked[-1] == ["q:a?"]
        assert await stage.found("b?") == ([], VectorUse.USED)

    played(short_tmp, play)


def test_requests_go_before(short_tmp: Path) -> None:
    """With one place left nothing is made; that place is whoever's comes next."""

    async def play(stage: Stage) -> None:
        async with AsyncExitStack() as stack:
            for number in range(PLACES - 1):
                await stack.enter_async_context(stage.admission.slot(f"key {number}"))
            stage.add("a")
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert stage.engine.asked == []
            async with stage.admission.slot("late"):
                pass
        await until(lambda: stage.lacking() == 0)

    played(short_tmp, play)


def test_an_engine_that_fails_leaves_words(short_tmp: Path) -> None:
    """No error comes of it, and when it works again the rest is made."""

    async def play(stage: Stage) -> None:
        stage.add("alpha")
        await until(lambda: stage.lacking() == 0)
        stage.engine.broken = True
        assert await stage.found("alpha") == (["alpha"], VectorUse.UNAVAILABLE)
        stage.add("aardvark")
        await until(lambda: ["p:aardvark"] in stage.engine.asked)
        assert stage.lacking() == 1
        stage.engine.broken = False
        await until(lambda: stage.lacking() == 0)
        assert (await stage.found("a"))[1] == VectorUse.USED

    played(short_tmp, play)


def test_a_question_waits_no_longer_than_it_may(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_vectors, "QUESTION_S", 0.05)

    async def play(stage: Stage) -> None:
        stage.add("alpha")
        await until(lambda: stage.lacking() == 0)
        stage.engine.free.clear()
        assert await stage.found("alpha") == (["alpha"], VectorUse.UNAVAILABLE)
        assert not stage.admission.running

    played(short_tmp, play)


def test_a_box_that_does_not_serve_makes_none(short_tmp: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.serving = False
        stage.add("alpha")
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert await stage.found("alpha") == (["alpha"], VectorUse.UNAVAILABLE)
        assert stage.engine.asked == []
        stage.serving = True
        await until(lambda: stage.lacking() == 0)

    played(short_tmp, play)


def test_of_a_text_that_is_too_long_the_beginning_is_taken(short_tmp: Path) -> None:
    """The others of its batch are whole; a question is cut as well."""

    async def play(stage: Stage) -> None:
        stage.add("b" * 3 * HOLDS, "a short one")
        await until(lambda: stage.lacking() == 0)
        assert max(len(texts[0]) for texts in stage.engine.asked[-2:]) <= HOLDS
        assert ["p:a short one"] in stage.engine.asked
        assert (await stage.found("b" * 2 * HOLDS))[1] == VectorUse.USED
        assert SHORTEST < len(stage.engine.asked[-1][0]) <= HOLDS

    played(short_tmp, play)


def test_a_model_that_is_out_of_memory_is_not_waited_for(short_tmp: Path) -> None:
    """It comes when there is room that nobody has used of late, and then the next question finds it."""

    async def play(stage: Stage) -> None:
        async with stage.room.use("chat"):
            stage.add("alpha")
            assert await stage.found("alpha") == (["alpha"], VectorUse.UNAVAILABLE)
            assert stage.engine.asked == []
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert stage.loader.running == {"chat"}
        stage.clock += 1000
        await until(lambda: stage.lacking() == 0)
        assert (await stage.found("a"))[1] == VectorUse.USED
        async with stage.room.use("chat"):
            assert stage.loader.running == {"chat"}
        stage.clock += 1000
        assert (await stage.found("alpha")) == (["alpha"], VectorUse.UNAVAILABLE)
        await until(lambda: "vectors" in stage.loader.running)
        await until(lambda: stage.engine.asked[-1] == ["q:?"])
        assert (await stage.found("alpha")) == (["alpha"], VectorUse.USED)

    played(short_tmp, play, Loader("chat"))


def test_another_prefix_of_passages_is_another_identity() -> None:
    others = [
        VectorModel(RELEASE.model_copy(update={"passage_prefix": ""}), MODEL.root_hash),
        VectorModel(RELEASE, "0a" * 32),
    ]
    assert len({MODEL.identity, *(one.identity for one in others)}) == 3
    assert VectorModel(RELEASE.model_copy(update={"question_prefix": ""}), MODEL.root_hash).identity == MODEL.identity
