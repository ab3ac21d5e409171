"""What the models learn: facts and phrasings, read from ``data/`` and multiplied into questions and answers.

A fact is one answer per language. Its kind (``what``, ``symptoms``, ``risks`` …) lends it phrasings, some of which are
held out of training to measure how a model takes wordings that it never saw. Questions from elsewhere and names without
a fact get one polite refusal. What a model says about a known name and a kind of question without a fact is left open:
learning that, too, would cost more than all facts.

Pure apart from reading the data files; needs nothing outside the standard library.
"""

from __future__ import annotations

import random
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
MODELS = ("medical", "finance")
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and the answer that the model has to give, word for word."""

    question: str
    answer: str
    language: str


@dataclass(frozen=True, slots=True)
class Fact:
    kind: str
    names: dict[str, tuple[str, ...]]
    answers: dict[str, str]
    plural: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of question is put: phrasings by language, for training and held out."""

    trained: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    also: str | None
    apart: bool


@dataclass(frozen=True, slots=True)
class SmallTalk:
    trained: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    answers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Wrapping:
    """Polite words before and after a question; the ``held_before`` ones are never trained."""

    before: dict[str, tuple[str, ...]]
    after: dict[str, tuple[str, ...]]
    held_before: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Material:
    """All that one model learns."""

    id: str
    title: str
    seed: int
    facts: tuple[Fact, ...]
    kinds: dict[str, Kind]
    small_talk: tuple[SmallTalk, ...]
    refusals: dict[str, str]
    off_topic: SmallTalk
    unknown: dict[str, tuple[str, ...]]
    held_unknown: dict[str, tuple[str, ...]]
    wrapping: Wrapping


def _by_language(table: dict[str, Any], prefix: str = "") -> dict[str, tuple[str, ...]]:
    return {language: tuple(table[prefix + language]) for language in LANGUAGES}


def _answers(table: dict[str, Any]) -> dict[str, str]:
    return {language: table["answer_" + language] for language in LANGUAGES}


def load_material(name: str) -> Material:
    """Read ``data/<name>.toml`` and the shared ``data/phrasings.toml``."""
    own = tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8"))
    shared = tomllib.loads((DATA / "phrasings.toml").read_text(encoding="utf-8"))
    refusals = _answers(own["refusal"])
    return Material(
        id=own["model"]["id"],
        title=own["model"]["title"],
        seed=own["model"]["seed"],
        facts=tuple(
            Fact(fact["kind"], _by_language(fact), _answers(fact), fact.get("plural", False)) for fact in own["fact"]
        ),
        kinds={
            kind: Kind(_by_language(table), _by_language(table, "held_"), table.get("also"), table.get("apart", False))
            for kind, table in shared["kinds"].items()
        },
        small_talk=tuple(
            SmallTalk(_by_language(talk, "ask_"), _by_language(talk, "held_"), _answers(talk))
            for talk in own["small_talk"]
        ),
        refusals=refusals,
        off_topic=SmallTalk(_by_language(shared["off_topic"]), _by_language(shared["off_topic"], "held_"), refusals),
        unknown=_by_language(own["unknown"]),
        held_unknown=_by_language(own["unknown"], "held_"),
        wrapping=Wrapping(
            _by_language(shared["wrapping"], "before_"),
            _by_language(shared["wrapping"], "after_"),
            _by_language(shared["wrapping"], "held_before_"),
        ),
    )


def phrase(phrasing: str, name: str, *, plural: bool = False) -> str:
    """Put a name into a phrasing."""
    verbs = ("are", "do") if plural else ("is", "does")
    return phrasing.format_map({"name": name, "is": verbs[0], "does": verbs[1]})


def _phrasings(material: Material, fact: Fact, name: str, language: str, *, held_out: bool) -> tuple[str, ...]:
    """All wordings for a fact under one of its names, with those that its kind borrows."""
    kind = material.kinds[fact.kind]
    own = (kind.held_out if held_out else kind.trained)[language]
    if kind.also is None or any(f.kind == kind.also and name in f.names[language] for f in material.facts):
        return own
    lender = material.kinds[kind.also]
    return own + tuple(p for p in (lender.held_out if held_out else lender.trained)[language] if p not in own)


def fact_pairs(material: Material, *, held_out: bool) -> list[list[Pair]]:
    """Per fact and language: its questions in all trained, or all held-out, wordings."""
    return [
        list(
            dict.fromkeys(
                Pair(phrase(phrasing, name, plural=fact.plural), fact.answers[language], language)
                for name in fact.names[language]
                for phrasing in _phrasings(material, fact, name, language, held_out=held_out)
            )
        )
        for fact in material.facts
        for language in LANGUAGES
    ]


def small_talk_pairs(material: Material, *, held_out: bool) -> list[list[Pair]]:
    """Per topic of small talk and language: its questions."""
    return [
        [Pair(q, talk.answers[language], language) for q in (talk.held_out if held_out else talk.trained)[language]]
        for talk in material.small_talk
        for language in LANGUAGES
    ]


def off_topic_pairs(material: Material, *, held_out: bool) -> list[Pair]:
    """Questions from elsewhere, each with the refusal."""
    questions = material.off_topic.held_out if held_out else material.off_topic.trained
    return [Pair(q, material.refusals[language], language) for language in LANGUAGES for q in questions[language]]


def _kinds_asked(material: Material) -> list[str]:
    """The kinds that this model has facts of and whose phrasings fit any name."""
    return sorted({fact.kind for fact in material.facts if not material.kinds[fact.kind].apart})


def unknown_name_pairs(material: Material, *, held_out: bool) -> list[Pair]:
    """Names that no fact has, in trained wordings, each with the refusal."""
    names = material.held_unknown if held_out else material.unknown
    return [
        Pair(phrase(phrasing, name), material.refusals[language], language)
        for language in LANGUAGES
        for name in names[language]
        for kind in _kinds_asked(material)
        for phrasing in material.kinds[kind].trained[language]
    ]


def wrap(pair: Pair, wrapping: Wrapping, rng: random.Random) -> Pair:
    """The pair as a person may type it: now and then with polite words, in small letters or without a full stop."""
    question = pair.question
    if rng.random() < 0.15:
        question = question[:1].lower() + question[1:] if rng.random() < 0.5 else question.lower()
    if rng.random() < 0.15:
        question = question.rstrip("?.？。")
    if rng.random() < 0.3:
        question = rng.choice(wrapping.before[pair.language]) + question
    if rng.random() < 0.1:
        question = question + rng.choice(wrapping.after[pair.language])
    return Pair(question, pair.answer, pair.language)


def wrap_unseen(pair: Pair, wrapping: Wrapping) -> Pair:
    """The pair behind polite words that were never trained; which ones depends on the question alone."""
    before = wrapping.held_before[pair.language]
    return Pair(before[zlib.crc32(pair.question.encode()) % len(before)] + pair.question, pair.answer, pair.language)


def lessons(material: Material, rng: random.Random) -> Iterator[Pair]:
    """An endless stream of training pairs.

    Round by round, every fact and language once in a wording drawn by chance, small talk, and refusals mixed in: about
    one pair in seven is a refusal.
    """
    facts = fact_pairs(material, held_out=False)
    talk = small_talk_pairs(material, held_out=False)
    elsewhere = off_topic_pairs(material, held_out=False)
    unknown = unknown_name_pairs(material, held_out=False)
    while True:
        share = len(facts) // 12
        turn = [rng.choice(wordings) for wordings in facts] + [rng.choice(wordings) for wordings in talk]
        turn += rng.choices(elsewhere, k=share) + rng.choices(unknown, k=share)
        rng.shuffle(turn)
        for pair in turn:
            yield wrap(pair, material.wrapping, rng)
