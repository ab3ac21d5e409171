"""The rules over made-up traces: a few of each kind here, many in tests/bench/bench_outflow.py."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.outflow.extraction import (
    DAY_S,
    HARVEST_MOST,
    HOUR_S,
    Observed,
    Profile,
    Sign,
    level,
    score_together,
    scores,
)
from sealwright_appliance.outflow.prompt_sketch import COMPARED, PHRASE_MOST, PromptFeatures, PromptMemory
from sealwright_testing.extraction_scores import kept, score
from sealwright_testing.extraction_traces import COPYING, EVADING, NORMAL, restart_every_s, trace

SEED = 40_000
NEW = PromptFeatures(new_words=20, sweeps=False)
LONG = "this is a beginning of more than sixteen words which all of the prompts in this test have in common"


@pytest.mark.parametrize("kind", NORMAL)
def test_who_uses_a_model_gives_no_alarm(kind: str) -> None:
    assert score(trace(NORMAL[kind], SEED, 1), restart_every_s(kind)).highest < 1


@pytest.mark.parametrize("kind", [kind for kind in COPYING if "slow" not in kind])
def test_who_copies_it_gives_one(kind: str) -> None:
    found = score(trace(COPYING[kind], SEED, 2), restart_every_s(kind))
    assert found.highest >= 1
    assert found.tokens_before < found.tokens


@pytest.mark.parametrize("kind", EVADING)
def test_who_does_it_like_people_do_is_not_seen(kind: str) -> None:
    """A limit that is stated: if the rules learn to see it, SECURITY.md says less than is true."""
    assert score(trace(EVADING[kind], SEED, 1)).highest < 1


def compared(*prompts: list[tuple[str, str]]) -> list[PromptFeatures]:
    memory = PromptMemory(b"0" * 16)
    return [memory.compare(prompt) for prompt in prompts]


def words(number: int) -> str:
    return " ".join(f"w{number}x{at}" for at in range(20))


def test_what_was_asked_before_is_not_new() -> None:
    first, again, half = compared(
        [("user", words(1))], [("user", words(1))], [("user", f"{words(1)} {words(2)}")]
    )  # fmt: skip
    assert (first.new_words, again.new_words) == (20, 0)
    assert 20 <= half.new_words < 20 + PHRASE_MOST


@pytest.mark.parametrize(
    "form",
    [
        lambda question: [("user", "hi"), ("assistant", "hello"), ("user", question)],
        lambda question: [("system", question), ("user", "answer the question above")],
        lambda question: [("user", question), ("assistant", "yes"), ("user", "go on")],
        lambda question: [("user", f"{words(-1) * 100} {question} {words(-2) * 100}")],
    ],
    ids=["an invented turn", "the system's turn", "an earlier turn", "a form"],
)
def test_a_question_is_new_wherever_it_stands(form: Callable[[str], list[tuple[str, str]]]) -> None:
    """The client writes the whole conversation."""
    _, *found = compared(*(form(words(number)) for number in range(20)))
    assert all(20 <= one.new_words <= 20 + 2 * PHRASE_MOST for one in found)


@pytest.mark.parametrize(
    "prompts",
    [
        [[("user", f"{LONG} {word}")] for word in ("red", "blue pale")],
        [[("user", LONG)], [("user", f"{LONG} red")], [("user", f"{LONG} red and")]],
        [[("system", LONG), ("user", word)] for word in ("red", "blue")],
        [[("user", f"{'高血压是什么' * 5}{word}")] for word in "甲乙"],
        [[("user", LONG), ("assistant", f"{LONG} {word}")] for word in ("red", "blue")],
    ],
)
def test_another_end_behind_a_long_beginning_is_a_sweep(prompts: list[list[tuple[str, str]]]) -> None:
    found = [one.sweeps for one in compared(*prompts)]
    assert found == [False] + [True] * (len(prompts) - 1)


@pytest.mark.parametrize(
    "prompts",
    [
        [[("user", f"{LONG} red")]] * 3,
        [[("user", f"what is {word}")] for word in ("red", "blue")],
        [[("system", LONG), ("user", f"what is the dose of {word}")] for word in ("red", "blue")],
        [[("user", f"{LONG} {word} is what I want to know of you now")] for word in ("red", "blue")],
    ],
    ids=["repeated", "short", "short behind an instruction", "in the middle"],
)
def test_what_people_and_programs_ask_is_none(prompts: list[list[tuple[str, str]]]) -> None:
    assert not any(one.sweeps for one in compared(*prompts))


@pytest.mark.parametrize("between", ["-", " / ", ""], ids=["dashes", "slashes", "one turn each"])
def test_a_question_is_new_however_its_words_are_joined(between: str) -> None:
    """Words that were all seen before, in pieces too small to be new."""
    chosen, vocabulary = random.Random(1), [f"w{at}" for at in range(50)]
    memory = PromptMemory(bytes(16))
    for _ in range(300):
        question = chosen.sample(vocabulary, 20)
        turns = [("user", between.join(question))] if between else [("user", word) for word in question]
        found = memory.compare(turns)
        assert found.new_words > 0


def test_a_request_of_any_size_is_compared_in_part() -> None:
    """The gateway does nothing else meanwhile."""
    found = compared([("user", "-" * 1_000_000)], [("user", "高" * 300_000)])
    assert all(0 < one.new_words <= COMPARED for one in found)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=2000)), min_size=1, max_size=4))
def test_any_conversation_has_features(messages: list[tuple[str, str]]) -> None:
    found = compared(messages)[0]
    assert 0 <= found.new_words <= 1 + sum(len(text) for _, text in messages)


def harvest(pause_s: float, days: float, tokens: int = 300, *, from_hour: int = 0, until_hour: int = 24) -> Profile:
    """One new question behind the other, at these hours of each day."""
    profile, now = Profile(), 0.0
    while now < days * DAY_S:
        if from_hour <= now / HOUR_S % 24 < until_hour:
            profile.observe(Observed(now, now + 10, NEW, tokens))
        now += 10 + pause_s
    return profile


def test_a_loop_is_seen_in_a_day_and_pauses_by_their_evenness() -> None:
    assert scores(harvest(1, 0.5))[Sign.HARVEST] > 1
    assert scores(harvest(30, 0.9))[Sign.HARVEST] == 0
    assert scores(harvest(30, 2))[Sign.HARVEST] > 1
    assert scores(harvest(30, 2, from_hour=8, until_hour=18))[Sign.HARVEST] < 0.1
    assert scores(harvest(170, 10))[Sign.SLOW_HARVEST] > 1


def test_hours_of_rest_hide_nothing() -> None:
    """A pause of 2.1 s, so that it is no loop."""
    assert scores(harvest(2.1, 2, from_hour=4))[Sign.HARVEST] > 1
    assert scores(harvest(170, 14, from_hour=4))[Sign.SLOW_HARVEST] > 1


def test_a_profile_outlives_its_gateway() -> None:
    """Also the hours, without which no day is even."""
    before = harvest(30, 2)
    after = kept(before)
    assert scores(after) == scores(before)
    assert after.evenness > 0.9
    after.observe(Observed(2 * DAY_S, 2 * DAY_S + 10, NEW, 300))
    assert after.hours == dict.fromkeys(range(24, 48), 90) | {48: 1}


def test_keys_count_together_only_if_they_are_programs_and_several() -> None:
    loop, people = harvest(1, 0.12), harvest(30, 0.5)
    assert scores(loop)[Sign.HARVEST] < 3
    assert score_together([loop]) == score_together([loop, people]) == 0
    assert score_together([loop] * 3) == pytest.approx(3 * loop.harvest / 300_000, rel=0.05)


def test_a_level_rises_at_its_most_and_falls_at_half_of_it() -> None:
    assert [level(score, 0) for score in (0.99, 1.0, 1.99, 2.0)] == [0, 1, 1, 2]
    assert [level(score, 2) for score in (1.0, 0.99, 0.5, 0.49)] == [2, 1, 1, 0]


def test_what_is_older_weighs_less() -> None:
    profile = harvest(1, 0.5)
    before = profile.harvest
    profile.pass_time(profile.at_s + DAY_S)
    assert profile.harvest == pytest.approx(before / 2.71828, rel=1e-3)
    assert before > HARVEST_MOST


@pytest.mark.parametrize("words", range(4))
def test_a_long_text_may_end_in_fewer_words_than_a_tail_has(words: int) -> None:
    """As base64 does, or white space; two that begin otherwise have nothing in common."""
    memory = PromptMemory(bytes(16))
    ends = " b" * words
    assert not memory.compare([("user", "a" * 2000 + ends)]).sweeps
    assert not memory.compare([("user", "c" * 2000 + ends)]).sweeps
    assert not memory.compare([("user", " " * 2000 + ends)]).sweeps
