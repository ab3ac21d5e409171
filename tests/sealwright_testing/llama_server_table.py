"""Which of llama.cpp's own server tests a box does not pass, and why: the table, and a run held against it.

The table is ``integration/serve/llama_server/differences.toml``; what a run says of a test comes from the plugin
:mod:`sealwright_testing.llama_server_tests`.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NO_ROUTE = "not_found"
"""A test that passes with this answer has wanted a refusal of something that is not there at all."""


class Outcome(StrEnum):
    """How a test ended, in pytest's words."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    DESELECTED = "deselected"


class Ended(BaseModel):
    """A line of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: str
    """FILE::FUNCTION, with its parameters in brackets."""
    outcome: Outcome
    errors: tuple[str, ...] = ()
    """Codes that the box answered, sorted."""
    words: str = ""

    @property
    def file(self) -> str:
        """Which of their files it is in."""
        return self.test.partition("::")[0]

    @property
    def is_pass(self) -> bool:
        """Whether the box has done what was wanted."""
        return self.outcome == Outcome.PASSED and NO_ROUTE not in self.errors


class Difference(BaseModel):
    """Tests that a box does not pass, for one reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    tests: Annotated[tuple[str, ...], Field(min_length=1)]
    """FILE::FUNCTION for all of its parameters, or one of them with its brackets."""
    answer: tuple[str, ...] = ()
    run: bool = True


class Table(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: tuple[str, ...]
    passing: Mapping[str, int]
    not_run: Mapping[str, str]
    kinds: Mapping[str, str]
    differences: tuple[Difference, ...]

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read it."""
        return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))

    @property
    def left_out(self) -> list[str]:
        """Tests of the run's files that are not run."""
        return [test for difference in self.differences if not difference.run for test in difference.tests]

    def complaints(self, ended: Sequence[Ended]) -> list[str]:
        """Everything in which a run and the table disagree, in words; empty if all is as it says."""
        return [*self._of_kinds(), *self._of_tests(ended), *self._of_names(ended), *self._of_numbers(ended)]

    def unknown_files(self, files: Sequence[str]) -> set[str]:
        """Their files that are neither run nor said not to be, and names of files that are not there."""
        return set(files) ^ (self.passing.keys() | self.not_run.keys())

    def _named(self, test: str) -> list[Difference]:
        names = {test, test.partition("[")[0]}
        return [difference for difference in self.differences if names & set(difference.tests)]

    def _of_kinds(self) -> Iterator[str]:
        used = {difference.kind for difference in self.differences}
        yield from (f"kind {kind}: not explained, or not used" for kind in sorted(used ^ self.kinds.keys()))

    def _of_tests(self, ended: Sequence[Ended]) -> Iterator[str]:
        for test in ended:
            named = self._named(test.test)
            if len(named) > 1:
                yield f"{test.test}: in the table more than once"
            elif not named and not test.is_pass:
                yield f"{test.test}: {test.outcome}, {list(test.errors)}, and not in the table\n{test.words}"
            elif named and test.is_pass:
                yield f"{test.test}: passes, and is in the table"
            elif named and (test.outcome == Outcome.DESELECTED) == named[0].run:
                yield f"{test.test}: {test.outcome}, the table says run = {named[0].run}"
            elif named and named[0].run and test.errors != tuple(sorted(named[0].answer)):
                yield f"{test.test}: answered {list(test.errors)}, not {list(named[0].answer)}\n{test.words}"

    def _of_names(self, ended: Sequence[Ended]) -> Iterator[str]:
        there = {name for test in ended for name in (test.test, test.test.partition("[")[0])}
        names = Counter(name for difference in self.differences for name in difference.tests)
        yield from (f"{name}: in the table, and not among the tests" for name in names if name not in there)
        yield from (f"{name}: in the table {count} times" for name, count in names.items() if count > 1)

    def _of_numbers(self, ended: Sequence[Ended]) -> Iterator[str]:
        found = Counter(test.file for test in ended if test.is_pass)
        for file in sorted(self.passing.keys() | found.keys()):
            if found[file] != self.passing.get(file):
                yield f"{file}: {found[file]} tests pass, the table says {self.passing.get(file)}"
