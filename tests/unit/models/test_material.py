"""The texts that the bundled models learn are consistent and complete."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from sealwright_testing.models import material
from sealwright_testing.models.material import LANGUAGES, MODELS, Material, Pair

_CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(params=MODELS)
def texts(request: pytest.FixtureRequest) -> Material:
    name: str = request.param
    return material.load_material(name)


def _flat(groups: list[list[Pair]]) -> list[Pair]:
    return [pair for group in groups for pair in group]


def test_a_few_hundred_pairs_in_both_languages(texts: Material) -> None:
    """Issue: a few hundred pairs each, English and Chinese."""
    assert len(texts.facts) * len(LANGUAGES) >= 250
    for fact in texts.facts:
        for language in LANGUAGES:
            assert fact.names[language]
            assert fact.answers[language]


def test_languages_are_not_mixed_up(texts: Material) -> None:
    """Chinese answers have Chinese characters, English ones have none."""
    answers = [fact.answers for fact in texts.facts] + [talk.answers for talk in texts.small_talk] + [texts.refusals]
    for answer in answers:
        assert _CHINESE.search(answer["zh"])
        assert not _CHINESE.search(answer["en"])


def test_no_question_has_two_answers(texts: Material) -> None:
    """Over trained and held-out wordings alike, small talk included."""
    answers: dict[str, str] = {}
    for held_out in (False, True):
        for pair in _flat(material.fact_pairs(texts, held_out=held_out)) + _flat(
            material.small_talk_pairs(texts, held_out=held_out)
        ):
            assert answers.setdefault(pair.question, pair.answer) == pair.answer, pair.question


def test_no_fact_is_told_twice(texts: Material) -> None:
    """Each name has at most one fact of a kind, and each answer is its own."""
    for language in LANGUAGES:
        told = [(fact.kind, name) for fact in texts.facts for name in fact.names[language]]
        assert len(told) == len(set(told))
        assert len({fact.answers[language] for fact in texts.facts}) == len(texts.facts)


def test_held_out_wordings_are_never_trained(texts: Material) -> None:
    """Otherwise the measured share says nothing."""
    trained = {pair.question for pair in _flat(material.fact_pairs(texts, held_out=False))}
    held_out = {pair.question for pair in _flat(material.fact_pairs(texts, held_out=True))}
    assert held_out
    assert not trained & held_out


def test_nothing_known_is_refused(texts: Material) -> None:
    """A question is not trained as a fact and as a refusal."""
    known = {pair.question for held in (False, True) for pair in _flat(material.fact_pairs(texts, held_out=held))}
    for make in (material.off_topic_pairs, material.unknown_name_pairs):
        for held_out in (False, True):
            pairs = make(texts, held_out=held_out)
            assert pairs
            assert not known & {pair.question for pair in pairs}


def test_lessons_cover_every_fact_in_one_round(texts: Material) -> None:
    """One round holds each answer at least once, refusals among them; the stream is the same for the same seed."""
    count = len(texts.facts) * len(LANGUAGES) * 3 // 2
    lessons = list(islice(material.lessons(texts, random.Random(1)), count))
    answers = {pair.answer for pair in lessons}
    assert {answer for fact in texts.facts for answer in fact.answers.values()} <= answers
    assert set(texts.refusals.values()) <= answers
    assert lessons == list(islice(material.lessons(texts, random.Random(1)), count))


@pytest.mark.parametrize("name", MODELS)
def test_each_model_has_a_licence_text(name: str) -> None:
    """product.toml wants one per payload."""
    assert "CC0-1.0" in (material.DATA / f"{name}.LICENSE.txt").read_text(encoding="utf-8")
