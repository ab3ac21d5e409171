"""Every program for people says its version, all in one way."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOR_UNITS = {"sealwright-agent"}
"""Started by the box's units alone, and part of its image, whose version the release says."""


def programs() -> dict[str, tuple[str, str]]:
    """Entry point and version of each program that a distribution of the product installs."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(ROOT.glob("*/pyproject.toml")) + sorted(ROOT.glob("*/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        if project["name"] != "sealwright-testing":
            found |= {name: (entry, project["version"]) for name, entry in project.get("scripts", {}).items()}
    return found


def test_all_programs_are_known() -> None:
    known = {f"sealwright-{one}" for one in ("agent", "box", "fleet", "image", "license", "policy")}
    assert set(programs()) == known


@pytest.mark.parametrize("name", sorted(set(programs()) - FOR_UNITS))
def test_a_program_says_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry, version = programs()[name]
    module, _, function = entry.partition(":")
    with pytest.raises(SystemExit) as ended:
        getattr(importlib.import_module(module), function)(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{name} {version}\n"
