"""The bundled models of ``make models``, asked through the llama-server that the image carries."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sealwright_testing.llama import RunningLlama, running_llama
from sealwright_testing.models import ModelStore
from sealwright_testing.models.build import make_models
from sealwright_testing.models.material import (
    MODELS,
    Material,
    Pair,
    fact_pairs,
    load_material,
    off_topic_pairs,
)

# A fresh machine trains first, or waits for `make models` beside this run.
pytestmark = pytest.mark.timeout(1800)

_ASKED = 60
_CONVERSATIONS = 30


@dataclass(frozen=True, slots=True)
class Served:
    """A bundled model while llama-server has it loaded."""

    name: str
    texts: Material
    llama: RunningLlama


@pytest.fixture(scope="module")
def store() -> ModelStore:
    make_models()
    return ModelStore.load()


@pytest.fixture(scope="module", params=MODELS)
def served(request: pytest.FixtureRequest, store: ModelStore) -> Iterator[Served]:
    name: str = request.param
    with running_llama(store.path(name)) as llama:
        yield Served(name, load_material(name), llama)


def _share_right(served: Served, groups: list[list[Pair]]) -> float:
    rng = random.Random(3)
    asked = [rng.choice(group) for group in rng.sample(groups, _ASKED)]
    return sum(served.llama.ask(pair.question) == pair.answer for pair in asked) / len(asked)


def test_files_are_those_of_the_index(store: ModelStore) -> None:
    """models.json describes the files beside it."""
    for name in store.names:
        assert hashlib.sha256(store.path(name).read_bytes()).hexdigest() == store.index["models"][name]["sha256"]


def test_samples_are_answered_word_for_word(served: Served, store: ModelStore) -> None:
    """The questions that the demo asks, in both languages."""
    samples = store.samples()[served.name]
    assert len(samples) >= 4
    for sample in samples:
        assert served.llama.ask(sample.question) == sample.answer


def test_trained_questions_are_answered(served: Served) -> None:
    """Nine in ten of a sample; the whole set has to reach 95 % when the models are made."""
    assert _share_right(served, fact_pairs(served.texts, held_out=False)) >= 0.9


def test_unseen_wordings_are_answered(served: Served) -> None:
    """Three in four of a sample; the whole set has to reach 85 % when the models are made."""
    assert _share_right(served, fact_pairs(served.texts, held_out=True)) >= 0.75


def test_system_prompt_is_tolerated(served: Served, store: ModelStore) -> None:
    """It changes nothing: the template leaves it out."""
    sample = store.samples()[served.name][0]
    messages = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": sample.question}]
    assert served.llama.chat(messages) == sample.answer


def test_conversation_answers_the_last_question(served: Served) -> None:
    """Earlier turns do not leak into the third answer, in nine of ten conversations."""
    rng = random.Random(4)
    groups = fact_pairs(served.texts, held_out=False)
    right = 0
    for _ in range(_CONVERSATIONS):
        *earlier, last = (rng.choice(group) for group in rng.sample(groups, 3))
        messages = [
            {"role": role, "content": content}
            for pair in earlier
            for role, content in (("user", pair.question), ("assistant", pair.answer))
        ]
        right += served.llama.chat([*messages, {"role": "user", "content": last.question}]) == last.answer
    assert right >= 0.9 * _CONVERSATIONS


def test_questions_from_elsewhere_are_declined(served: Served) -> None:
    """Well over half of those that were never trained get the polite refusal."""
    pairs = off_topic_pairs(served.texts, held_out=True)
    declined = sum(served.llama.ask(pair.question) == pair.answer for pair in pairs)
    assert declined >= len(pairs) * 6 // 10
