"""Vectors of the customer's documents, which an engine of the box makes for it (policies/spec/own-documents.md, 7).

They are made behind everything else: on a place that nobody wants, a few passages at once. What is lacking is asked of
the document service each time, so a power cut costs a batch. A question's vector is made at once or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from sealwright_appliance.documents.messages import FoundPassage, MadeVector, PendingPassage, VectorUse
from sealwright_appliance.documents.vectors import QuestionVector, quantised, text_digest, vector_text
from sealwright_appliance.serve.background import beside
from sealwright_appliance.serve.documents import Documents
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_appliance.serve.queued_engine import QueuedEngine
from sealwright_policies.engines import DocumentVectors
from sealwright_policies.errors import FormatError

T = TypeVar("T")
QUESTION_S = 10.0
"""Longest wait for the vector of a question; then it is searched by words."""
AGAIN_S = 30.0
"""Until what could not be done is tried again."""
PAUSE_S = 5.0
"""While others need engine or memory."""
SHARE = 4
"""While requests run, so many times as long as a batch took nothing is done."""
QUESTION_MOST = 1024
"""Characters of a question that get a vector: few models hold more, and none means more by it."""
TOO_LONG = "context_length_exceeded"
SHORTEST = 32
"""Characters to which a passage is cut that is too long for the model."""


@dataclass(frozen=True, slots=True)
class VectorModel:
    """Which model makes them."""

    release: DocumentVectors
    root_hash: str
    """Of its partition."""

    @property
    def identity(self) -> str:
        """What the vectors of passages depend on: another identity, and all are made anew."""
        return hashlib.sha256(f"{self.root_hash}\0{self.release.passage_prefix}".encode()).hexdigest()


class VectorMaker:
    """Makes vectors while a gateway runs.

    Args:
        model: which one.
        engine: of that model.
        documents: where passages are, and their vectors stay.
        require_serving: raises ApiError when the box has no lease to serve under.
        is_busy: whether requests run, on whatever engine.
    """

    def __init__(
        self,
        model: VectorModel,
        engine: QueuedEngine,
        documents: Documents,
        require_serving: Callable[[], Awaitable[object]],
        is_busy: Callable[[], bool],
    ) -> None:
        self._model = model
        self._engine = engine
        self._documents = documents
        self._require_serving = require_serving
        self._is_busy = is_busy
        self._meter = Meter()  # which nobody sends: what the box does for itself is nobody's use
        self._wanted = asyncio.Event()
        self._missed = False
        """Whether a question has come while the model was not in memory."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Make what is lacking, until the block ends."""
        async with beside(self._keep_making(), _nothing):
            yield

    def look(self) -> None:
        """There is a new document."""
        self._wanted.set()

    async def of_question(self, question: str, key: str) -> QuestionVector | None:
        """The vector of a question; None if there is none now.

        Args:
            key: name of the key that asks.
        """
        text, tally = self._model.release.question_prefix + question[:QUESTION_MOST], self._tally(key)
        try:
            async with asyncio.timeout(QUESTION_S):
                await self._require_serving()
                vector = await _shortened(text, lambda some: self._engine.vector_of_question(some, tally))
                if vector is not None:
                    return QuestionVector(model=self._model.identity, vector=vector_text(quantised(vector)))
        except (ApiError, FormatError, TimeoutError):
            return None
        self._missed = True
        self._wanted.set()
        return None

    async def _keep_making(self) -> None:
        while True:
            self._wanted.clear()
            pause = None
            try:
                await self._make_lacking()
                if self._missed:
                    self._missed = False
                    await self._aside([self._model.release.question_prefix + "?"])
            except (ApiError, FormatError):
                pause = AGAIN_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    async def _make_lacking(self) -> None:
        """Batch by batch, until no passage is without a vector."""
        while lacking := await self._lacking():
            began = time.monotonic()
            made = await self._vectors([self._model.release.passage_prefix + one.text for one in lacking])
            if made is None:
                await asyncio.sleep(PAUSE_S)
                continue
            await self._documents.keep(self._model.identity, list(map(_made, lacking, made)))
            if self._is_busy():
                await asyncio.sleep(SHARE * (time.monotonic() - began))

    async def _lacking(self) -> list[PendingPassage]:
        await self._require_serving()
        return await self._documents.pending(self._model.identity)

    async def _vectors(self, texts: Sequence[str]) -> list[Sequence[float]] | None:
        """Of each text, of its beginning where the model does not hold all of it; None: others need the engine now."""
        try:
            return await self._aside(texts)
        except ApiError as error:
            if error.code != TOO_LONG:
                raise
        found = [await _shortened(text, lambda some: self._aside([some])) for text in texts]
        made = [one[0] for one in found if one is not None]
        return made if len(made) == len(texts) else None

    async def _aside(self, texts: Sequence[str]) -> list[Sequence[float]] | None:
        embedded = await self._engine.vectors_aside(texts, self._tally(""))
        return None if embedded is None else list(embedded.vectors)

    def _tally(self, key: str) -> Tally:
        return self._meter.tally(self._model.release.model, key)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The customer's documents, and by what passages are found."""

    documents: Documents
    maker: VectorMaker | None = None
    """None: by words alone."""

    async def search(self, question: str, most: int, key: str) -> tuple[list[FoundPassage], VectorUse | None]:
        """Passages that fit a question, the best first, and what vectors had to do with it; None where there are none.

        Args:
            key: name of the key that asks.

        Raises:
            ApiError: the document service does not answer.
        """
        if self.maker is None:
            return await self.documents.search(question, most)
        vector = await self.maker.of_question(question, key)
        found, use = await self.documents.search(question, most, vector)
        return found, use or VectorUse.UNAVAILABLE


async def _shortened(text: str, make: Callable[[str], Awaitable[T]]) -> T:
    """What is made of a text, or of as much of its beginning as the model holds."""
    while True:
        try:
            return await make(text)
        except ApiError as error:
            if error.code != TOO_LONG or len(text) <= SHORTEST:
                raise
        text = text[: len(text) // 2]


def _made(one: PendingPassage, vector: Sequence[float]) -> MadeVector:
    return MadeVector(passage=one.passage, text_sha256=text_digest(one.text), vector=vector_text(quantised(vector)))


async def _nothing() -> None:
    return
