"""A short run of the fuzzer over every parser; `make test-fuzz` is the long one."""

from __future__ import annotations

import ast
import random
import re
from contextlib import suppress
from pathlib import Path

import pytest

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


TAKES_BYTES = re.compile(r"^def ((?:verify|read)_\w+)\(\s*\w+: (?:bytes|str)\b", re.MULTILINE)
BODIES = re.compile(r"body_of\((\w+)\)|\bbodies\.([A-Z]\w+)|^class (\w+)\(Document\)", re.MULTILINE)


def _sources(pattern: str = "*/sealwright_*/**/*.py") -> list[str]:
    return [path.read_text("utf-8") for path in ROOT.glob(pattern) if "sealwright_testing" not in path.parts]


def _listed() -> set[str]:
    """Every name that the list uses; an import alone is no use."""
    files = (VECTORS.parent / "sealwright_testing/parsers").glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


def test_no_parser_is_forgotten() -> None:
    """Every function that is called parse_…, or verify_… or read_… and takes what was sent as it is."""
    named = {name for source in _sources() for name in re.findall(r"^def (parse_\w+)", source, re.MULTILINE)}
    found = named | {name for source in _sources() for name in TAKES_BYTES.findall(source)}
    assert len(found) > 40
    assert found - _listed() == set(LEFT_OUT)


def test_no_body_is_forgotten(tmp_path: Path) -> None:
    """Every document that a route takes is parsed under its own name."""
    routes = _sources("licensing/sealwright_licensing/endpoints/*.py") + _sources(
        "licensing/sealwright_licensing/operators/api/*.py"
    )
    found = {name for source in routes for names in BODIES.findall(source) for name in names if name}
    assert len(found) > 12
    assert found - {one.name for one in all_parsers(VECTORS, tmp_path)} == set()
