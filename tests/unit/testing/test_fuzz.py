"""A short run of the fuzzer over every parser; `make test-fuzz` is the long one."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from pathlib import Path

import pytest

from sealwright_testing import parsers
from sealwright_testing.fuzz import VECTORS, FuzzError, fuzz
from sealwright_testing.parsers import LEFT_OUT, Parser, all_parsers

ROOT = VECTORS.parent.parent
INPUTS = 150


def test_parsers_raise_our_errors_only(tmp_path: Path) -> None:
    """The same inputs each time: what is found by chance belongs into the long run."""
    for one in all_parsers(VECTORS, tmp_path):
        assert fuzz(one, random.Random(one.name), lambda number: number < INPUTS) == INPUTS


def test_each_parser_accepts_what_its_mutations_begin_with(tmp_path: Path) -> None:
    """Else all of them would be refused at the first check, and the rest never be reached."""
    refused = []
    for one in all_parsers(VECTORS, tmp_path):
        for seed in one.seeds:
            with suppress(one.raises):
                one.run(seed)
                break
        else:
            refused.append(one.name)
    assert refused == []


def test_an_exception_that_is_not_ours_is_found() -> None:
    with pytest.raises(FuzzError, match="IndexError"):
        fuzz(Parser("bad", lambda data: data[3], (b"abcd",)), random.Random(1), lambda number: number < 1000)


def test_no_parser_is_forgotten() -> None:
    """Every function of the packages that is called parse_… is in the list, or left out by name."""
    sources = (path for path in ROOT.glob("*/sealwright_*/**/*.py") if "sealwright_testing" not in path.parts)
    found = {
        name for path in sources for name in re.findall(r"^def (parse_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    listed = set(re.findall(r"\bparse_\w+", Path(parsers.__file__).read_text("utf-8")))
    assert len(found) > 25
    assert found - listed == set()
    assert set(LEFT_OUT) <= found
