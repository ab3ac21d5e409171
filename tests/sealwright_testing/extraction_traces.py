"""Traces of people and programs that use a model, and of some that copy it: made up, from a seed.

Prompts are sequences of made-up words, as often as words of a language are (Zipf); what matters to the rules is what is
repeated, how long it is and when it comes. Times are seconds from midnight of the first day.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

HOUR, DAY = 3600.0, 86_400.0
TOKENS_PER_S = 25.0
"""Of one reply."""
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    key: str
    arrived_s: float
    messages: Messages
    answer_tokens: int

    @property
    def ended_s(self) -> float:
        """When the reply was over."""
        return self.arrived_s + 0.3 + self.answer_tokens / TOKENS_PER_S


class Author:
    """Writes prompts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._words = ["".join(self.random.choices(_SYLLABLES, k=self.random.randint(1, 4))) for _ in range(8000)]
        self._weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(self._words))))

    def words(self, least: int, most: int) -> str:
        """Words of a language, in no order of one."""
        chosen = self.random.choices(self._words, cum_weights=self._weights, k=self.random.randint(least, most))
        return " ".join(chosen)

    def tokens(self, middle: float, spread: float = 0.6, most: int = 2000) -> int:
        """Length of a reply."""
        return max(1, min(most, int(self.random.lognormvariate(0, spread) * middle)))

    def office_hours(self, day: int, count: float) -> list[float]:
        """About so many moments of a working day, more in mid-morning and afternoon."""
        number = max(0, int(self.random.gauss(count, count**0.5)))
        return sorted(day * DAY + self.random.triangular(7.5, 18.5, self.random.choice((10, 15))) * HOUR
                      for _ in range(number))  # fmt: skip


Trace = Iterator[Asked]
Kind = Callable[["Author", int], Trace]


def _talk(author: Author, key: str, at: float, system: str = "") -> Trace:
    """A conversation of one person."""
    messages: list[tuple[str, str]] = [("system", system)] if system else []
    for _ in range(1 + int(author.random.expovariate(0.5))):
        messages.append(("user", author.words(4, 60)))
        asked = Asked(key, at, tuple(messages), author.tokens(220))
        yield asked
        messages.append(("assistant", author.words(20, 60)))
        at = asked.ended_s + author.random.uniform(8, 180)


def person(author: Author, days: int) -> Trace:
    """Somebody who asks now and then."""
    often = author.random.uniform(5, 40)
    for day in range(days):
        for at in author.office_hours(day, often):
            yield from _talk(author, "one", at)


def ward(author: Author, days: int) -> Trace:
    """Twenty to sixty people with one key; some of them at night."""
    people, system = author.random.randint(20, 60), author.words(10, 80)
    nightly = author.random.uniform(0, 6)
    for day in range(days):
        times = author.office_hours(day, people * author.random.uniform(4, 12))
        times += [day * DAY + author.random.uniform(0, DAY) for _ in range(int(24 * nightly))]
        for at in times:
            yield from _talk(author, "one", at, system)


def ward_off_at_night(author: Author, days: int) -> Trace:
    """A week on a box that runs from seven to seven and gets no renewals: its calendar has twelve hours a day."""
    for asked in ward(author, 5):
        day, hour = divmod(asked.arrived_s, DAY)
        if 7 * HOUR <= hour < 19 * HOUR:
            yield replace(asked, arrived_s=day * DAY / 2 + hour - 7 * HOUR)


def retrieval(author: Author, days: int) -> Trace:
    """Questions with passages of documents, out of a few hundred that come again and again."""
    system, library = author.words(60, 200), [author.words(80, 200) for _ in range(300)]
    often = author.random.uniform(100, 1500)
    for day in range(days):
        for at in author.office_hours(day, often):
            found = "\n".join(author.random.choices(library, k=3))
            prompt = f"{found}\n\nQuestion: {author.words(4, 20)}"
            yield Asked("one", at, (("system", system), ("user", prompt)), author.tokens(120))


def _batch(author: Author, at: float, count: int, make: Callable[[], tuple[Messages, int]]) -> Trace:
    """A program that asks again as soon as it is answered, in one to four places."""
    places = [at] * author.random.randint(1, 4)
    for number in range(count):
        place = number % len(places)
        messages, tokens = make()
        asked = Asked("one", places[place], messages, tokens)
        yield asked
        places[place] = asked.ended_s + author.random.uniform(0.01, 0.4)


def summaries(author: Author, days: int) -> Trace:
    """A few hundred to two thousand documents a night, each a few pages, each a paragraph in return."""
    order, count = author.words(15, 60), author.random.randint(200, 2000)

    def make() -> tuple[Messages, int]:
        return (("user", f"{order}\n\n{author.words(400, 1500)}"),), author.tokens(120, 0.4)

    for day in range(days):
        yield from _batch(author, day * DAY + author.random.uniform(0, 5) * HOUR, count, make)


def labels(author: Author, days: int) -> Trace:
    """Short texts under a long instruction with examples; a word in return."""
    order, count = author.words(150, 400), author.random.randint(500, 4000)

    def make() -> tuple[Messages, int]:
        return (("system", order), ("user", author.words(9, 60))), author.random.randint(1, 6)

    for day in range(days):
        yield from _batch(author, day * DAY + author.random.uniform(6, 20) * HOUR, count, make)


def suite_of_tests(author: Author, days: int) -> Trace:
    """The same prompts at each change of a program."""
    prompts = [((("user", author.words(5, 120)),), author.tokens(150)) for _ in range(author.random.randint(30, 250))]
    for day in range(days):
        for at in author.office_hours(day, author.random.uniform(2, 12)):
            order = iter(prompts)
            yield from _batch(author, at, len(prompts), order.__next__)


def descriptions(author: Author, days: int) -> Trace:
    """Texts for a catalogue: a form with some words of each article; a paragraph in return."""
    order, count = author.words(30, 120), author.random.randint(50, 1200)

    def make() -> tuple[Messages, int]:
        return (("user", f"{order}: {author.words(5, 30)}"),), author.tokens(130, 0.3)

    for day in range(days):
        yield from _batch(author, day * DAY + author.random.uniform(8, 16) * HOUR, count, make)


def agent(author: Author, days: int) -> Trace:
    """Tasks that a program does in steps: the model calls functions and is shown what they found, without a pause."""
    system, often = author.words(150, 400), author.random.uniform(20, 150)
    for day in range(days):
        for begin in author.office_hours(day, often):
            at = begin
            messages: list[tuple[str, str]] = [("system", system), ("user", author.words(8, 60))]
            for _ in range(author.random.randint(2, 8)):
                asked = Asked("one", at, tuple(messages), author.tokens(60))
                yield asked
                messages += [("assistant", author.words(5, 40)), ("tool", author.words(30, 600))]
                at = asked.ended_s + author.random.uniform(0.05, 1.5)
            yield Asked("one", at, tuple(messages), author.tokens(200))


def retrieval_in_turns(author: Author, days: int) -> Trace:
    """Passages in turns of their own, and the question behind them."""
    for asked in retrieval(author, days):
        *before, (role, prompt) = asked.messages
        found, question = prompt.rsplit("\n\n", 1)
        yield replace(asked, messages=(*before, (role, found), ("assistant", "I have read it."), (role, question)))


def _question(author: Author) -> tuple[Messages, int]:
    return (("user", author.words(8, 60)),), author.tokens(300, 0.5)


def distillation(author: Author, days: int) -> Trace:
    """As many new questions as the box answers."""
    yield from _batch(
        author, author.random.uniform(0, DAY), author.random.randint(1200, 5000), lambda: _question(author)
    )


def distillation_with_pauses(author: Author, days: int) -> Trace:
    """A pause behind each reply, so that it is no loop; day and night."""
    at, pause = author.random.uniform(0, HOUR), author.random.uniform(3, 60)
    while at < days * DAY:
        asked = Asked("one", at, *_question(author))
        yield asked
        at = asked.ended_s + pause * author.random.uniform(0.5, 2)


def _with_a_rest(hours: float, kind: Kind) -> Kind:
    """The same, with some hours of each day left out."""

    def trace(author: Author, days: int) -> Trace:
        begin = author.random.uniform(0, 24)
        for asked in kind(author, days):
            if (asked.arrived_s / HOUR - begin) % 24 >= hours:
                yield asked

    return trace


def distillation_all_but_a_loop(author: Author, days: int) -> Trace:
    """A pause just long enough that it is no loop."""
    at = author.random.uniform(0, HOUR)
    while at < days * DAY:
        asked = Asked("one", at, *_question(author))
        yield asked
        at = asked.ended_s + author.random.uniform(2.1, 4)


def slow_distillation(author: Author, days: int) -> Trace:
    """Some hundred questions a day, evenly, for weeks."""
    every = DAY / author.random.uniform(300, 1000)
    for number in range(int(14 * DAY / every)):
        yield Asked("one", (number + author.random.random()) * every, *_question(author))


def several_keys(author: Author, days: int) -> Trace:
    """Three to eight keys, each with a part too small for itself."""
    keys, count = author.random.randint(3, 8), author.random.randint(1800, 3600)
    for number in range(keys):
        at = author.random.uniform(0, 2 * HOUR)
        for _ in range(count // keys):
            asked = Asked(f"key-{number}", at, *_question(author))
            yield asked
            at = asked.ended_s + author.random.uniform(0.01, 1.5)


def _rewritten(kind: Kind, rewrite: Callable[[Author, str], Messages]) -> Kind:
    """The same questions in another form."""

    def trace(author: Author, days: int) -> Trace:
        for asked in kind(author, days):
            yield replace(asked, messages=rewrite(author, asked.messages[-1][1]))

    return trace


def behind_an_invented_turn(author: Author, question: str) -> Messages:
    """As if it were a conversation, of which the model has said nothing."""
    return ("user", "hi"), ("assistant", "hello, what can I do for you"), ("user", question)


def in_an_earlier_turn(author: Author, question: str) -> Messages:
    """What is new is not in the last message."""
    return ("system", question), ("user", "answer the question above")


def in_a_form(author: Author, question: str) -> Messages:
    """Between instructions that are always the same."""
    return (("user", f"{_form()}\n{question}\n{_form()}"),)


@functools.cache
def _form() -> str:
    return Author(0).words(300, 300)


def sweep(author: Author, days: int) -> Trace:
    """A long beginning with one to three other words behind it."""
    beginning = author.words(30, 300)

    def make() -> tuple[Messages, int]:
        return (("user", f"{beginning} {author.words(1, 3)}"),), author.random.randint(1, 8)

    yield from _batch(author, author.random.uniform(0, DAY), author.random.randint(200, 1500), make)


def sweep_behind_system(author: Author, days: int) -> Trace:
    """The beginning as an instruction, the end as a message."""
    beginning = author.words(60, 300)

    def make() -> tuple[Messages, int]:
        return (("system", beginning), ("user", author.words(1, 3))), author.random.randint(1, 8)

    yield from _batch(author, author.random.uniform(0, DAY), author.random.randint(200, 1500), make)


def sweep_word_by_word(author: Author, days: int) -> Trace:
    """Beginnings that grow by a word at a time, with the model's word or with another."""
    texts = [author.words(20, 40).split() for _ in range(8)]

    def make() -> tuple[Messages, int]:
        text = author.random.choice(texts)
        text.append(author.words(1, 1))
        return (("user", " ".join(text)),), 1

    yield from _batch(author, author.random.uniform(0, DAY), author.random.randint(200, 1500), make)


def like_a_ward(author: Author, days: int) -> Trace:
    """Copies within conversations, at office hours, with the pauses of people."""
    for day in range(days):
        for at in author.office_hours(day, 400):
            yield from _talk(author, "one", at)


def behind_documents(author: Author, days: int) -> Trace:
    """Each question behind pages of other words, so that it looks like a summary."""

    def make() -> tuple[Messages, int]:
        return (("user", f"{author.words(1500, 2500)}\n{author.words(8, 60)}"),), author.tokens(300, 0.5)

    yield from _batch(author, 0, 800, make)


NORMAL: Mapping[str, Kind] = {
    "person": person,
    "ward": ward,
    "ward, off at night": ward_off_at_night,
    "retrieval": retrieval,
    "retrieval in turns": retrieval_in_turns,
    "agent": agent,
    "summaries": summaries,
    "labels": labels,
    "tests": suite_of_tests,
    "descriptions": descriptions,
    "ward, restarted": ward,
    "tests, restarted": suite_of_tests,
    "descriptions, restarted": descriptions,
}
COPYING: Mapping[str, Kind] = {
    "distillation": distillation,
    "distillation, pauses": distillation_with_pauses,
    "distillation, slow": slow_distillation,
    "distillation, pauses, restarted": distillation_with_pauses,
    "distillation, slow, restarted": slow_distillation,
    "distillation, quiet four hours": _with_a_rest(4, distillation_with_pauses),
    "distillation, slow, quiet four hours": _with_a_rest(4, slow_distillation),
    "distillation, all but a loop, quiet four hours": _with_a_rest(4, distillation_all_but_a_loop),
    "distillation, several keys": several_keys,
    "distillation, invented turn": _rewritten(distillation, behind_an_invented_turn),
    "distillation, pauses, invented turn": _rewritten(distillation_with_pauses, behind_an_invented_turn),
    "distillation, earlier turn": _rewritten(distillation, in_an_earlier_turn),
    "distillation, form": _rewritten(distillation, in_a_form),
    "sweep": sweep,
    "sweep, system": sweep_behind_system,
    "sweep, word by word": sweep_word_by_word,
}
EVADING: Mapping[str, Kind] = {
    "like a ward": like_a_ward,
    "behind documents": behind_documents,
    "quiet eight hours": _with_a_rest(8, distillation_with_pauses),
}
"""What the rules are not expected to see: only budgets bound it."""


RESTARTED_S = 20 * HOUR


def restart_every_s(name: str) -> float:
    """How often the gateway is started anew while a trace of this name goes on."""
    return RESTARTED_S if name.endswith(", restarted") else math.inf


def trace(kind: Kind, seed: int, days: int) -> list[Asked]:
    """All requests of a trace in the order of their arrival."""
    return sorted(kind(Author(seed), days), key=lambda asked: asked.arrived_s)
