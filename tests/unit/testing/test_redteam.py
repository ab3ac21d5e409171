"""The table of the red team suite: every attempt has a control, and every residual a word in SECURITY.md."""

from __future__ import annotations

import ast
import errno
import re
from pathlib import Path

import pytest

from sealwright_testing.redteam.attempts import (
    BY_FIRMWARE,
    BY_THE_BOX,
    DISARMED,
    FROM_ROOT,
    Place,
    control_of,
    every_attempt,
    passes_in,
    refused_in,
)
from sealwright_testing.redteam.controls import ELSEWHERE
from sealwright_testing.redteam.disarmed import disarmed_words
from sealwright_testing.redteam.inside import swap_area
from sealwright_testing.redteam.refusals import REASONS, SETS, is_expected

REPOSITORY = Path(__file__).resolve().parents[3]
INTRUDER = REPOSITORY / "tests/sealwright_testing/planted/tree/usr/lib/planted/intruder"
TESTS = REPOSITORY / "tests"
COMMAND_LINE = REPOSITORY / "image/mkosi/command-line.txt"


def names_in_the_intruder() -> set[str]:
    """Keys of the dictionaries that its modules' ``attempts`` return."""
    trees = [ast.parse(path.read_text()) for path in INTRUDER.glob("*.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    returned = [node for function in functions if function.name == "attempts" for node in ast.walk(function)]
    keys = [key for node in returned if isinstance(node, ast.Dict) for key in node.keys]
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def test_the_table_has_what_the_intruder_tries() -> None:
    assert every_attempt() == names_in_the_intruder()


@pytest.mark.parametrize("name", sorted(every_attempt()))
def test_what_is_refused_has_a_control_that_is_not(name: str) -> None:
    control = control_of(name)
    if control is None:
        assert name in BY_THE_BOX | BY_FIRMWARE
        return
    place, same = control
    assert place == DISARMED or same in passes_in(Place(place))
    assert (place == DISARMED) == (name in FROM_ROOT and same == name)


def test_each_refusal_has_the_errors_that_it_comes_with() -> None:
    """No refusal passes by any error at all, and none stands in the table that is not one."""
    assert REASONS.keys() == {(place, name) for place in Place for name in refused_in(place)}


def test_what_is_expected_are_errors() -> None:
    known = set(errno.errorcode.values())
    assert set().union(*REASONS.values(), *SETS.values()) <= known
    assert not any(set(SETS) & reasons for reasons in REASONS.values())


def test_a_refusal_by_another_error_is_none() -> None:
    """As of a file that is not there, where root has found it and the profile keeps it."""
    assert is_expected(Place.GATEWAY, "domain-seal-key", "EACCES")
    assert not is_expected(Place.GATEWAY, "domain-seal-key", "ENOENT")
    assert not is_expected(Place.ROOT, "module", "ENOENT")
    assert is_expected(Place.AGENT, "call-host", "ETIMEDOUT")
    assert not is_expected(Place.AGENT, "call-host", "ENETUNREACH")


def functions_in(file: str) -> dict[str, ast.FunctionDef]:
    """The test functions of a file below tests/, by name."""
    tree = ast.parse((TESTS / file).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {f"{file}::{one.name}": one for one in functions if one.name.startswith("test_")}


def shows_itself(test: ast.FunctionDef) -> bool:
    """By :func:`sealwright_testing.redteam.controls.control`."""
    calls = [node.func for node in ast.walk(test) if isinstance(node, ast.Call)]
    return any(isinstance(function, ast.Name) and function.id == "control" for function in calls)


OUTSIDE = {
    name: test
    for path in sorted((TESTS / "vm/redteam").glob("test_*.py"))
    if path.stem != "test_inside"
    for name, test in functions_in(f"vm/redteam/{path.name}").items()
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_tried_from_outside_has_a_control(name: str) -> None:
    """In the same test, in another one, or it is one."""
    assert shows_itself(OUTSIDE[name]) or name in ELSEWHERE or name in ELSEWHERE.values()


@pytest.mark.parametrize("name", sorted({*ELSEWHERE, *ELSEWHERE.values()}))
def test_what_is_named_for_a_control_is_a_test(name: str) -> None:
    assert name in functions_in(name.partition("::")[0])


@pytest.mark.parametrize("path", sorted((TESTS / "vm/redteam").glob("test_*.py")), ids=lambda path: str(path.stem))
def test_every_file_of_attempts_is_told_of(path: Path) -> None:
    assert f"vm/redteam/{path.stem}" in (REPOSITORY / "docs/red-team.md").read_text()


def named_elsewhere() -> list[str]:
    """Files and folders below tests/ that the table of what is tried names."""
    told = (REPOSITORY / "docs/red-team.md").read_text().split("## What is tried", 1)[1]
    return sorted(set(re.findall(r"`((?:integration|unit|vm)/[a-z_/]+)`", told)))


@pytest.mark.parametrize("name", named_elsewhere())
def test_what_the_table_names_is_run_with_the_suite(name: str) -> None:
    """By its mark; of a folder, some of it."""
    path = TESTS / name
    files = list(path.rglob("test_*.py")) if path.is_dir() else [path.with_suffix(".py")]
    assert any("pytest.mark.redteam" in file.read_text() for file in files)


def test_every_attempt_is_told_of() -> None:
    """In the table of docs/red-team.md of what is tried."""
    told = (REPOSITORY / "docs/red-team.md").read_text().split("## What is tried", 1)[1]
    names = set(re.findall(r"`([a-z0-9-]+)`", told))
    assert every_attempt() <= names, every_attempt() - names


def test_every_residual_of_root_is_told() -> None:
    """By its name, in SECURITY.md's section of what root can still do."""
    text = (REPOSITORY / "SECURITY.md").read_text()
    section = text.split("## What root in the box can still do", 1)[1].split("\n## ", 1)[0]
    told = set(re.findall(r"`([a-z0-9-]+)`", section))
    assert passes_in(Place.ROOT) <= told, passes_in(Place.ROOT) - told


@pytest.mark.parametrize("place", sorted(set(Place) - {Place.ROOT}))
def test_what_succeeds_in_a_place_is_told(place: Place) -> None:
    """That, and nothing else, in the table of docs/red-team.md."""
    section = (REPOSITORY / "docs/red-team.md").read_text().split("## What succeeds", 1)[1].split("\n## ", 1)[0]
    (row,) = (line for line in section.splitlines() if line.startswith(f"| `{place}` |"))
    assert set(re.findall(r"`([a-z0-9-]+)`", row)) - {place} == passes_in(place)


def test_a_second_disk_is_ready_to_swap_to(tmp_path: Path) -> None:
    """As file(1) would see it: the signature at the end of the first page, version 1, all pages but the first."""
    (tmp_path / "disk").write_bytes(swap_area(1 << 20))
    content = (tmp_path / "disk").read_bytes()
    assert len(content) == 1 << 20
    assert content[4086:4096] == b"SWAPSPACE2"
    assert (content[1024:1028], content[1028:1032]) == (b"\1\0\0\0", b"\xff\0\0\0")


def test_the_control_boot_keeps_what_is_no_defence_of_the_kernel() -> None:
    lines = [line for line in COMMAND_LINE.read_text().splitlines() if not line.startswith("#")]
    words = disarmed_words(" ".join(lines))
    assert "planted.disarmed" in words
    assert "root=/dev/mapper/root" in words
    assert not [word for word in words if word.startswith(("lockdown=", "sysctl.", "module."))]
