"""Each distribution declares what it imports, and the two that the whole trust rests on import little."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DISTRIBUTIONS = ("policies", "image", "appliance", "appliance/client", "licensing", "licensing/custody", "ansible")
PROVIDED = {"pydantic_core": "pydantic", "markupsafe": "jinja2"}
"""Modules that come in another distribution, in a version which that one dictates."""
COMPLETE = {
    "policies": {"cryptography", "joserfc", "pydantic"},
    "appliance/client": {"httpx", "sealwright_policies"},
}


def imported(distribution: str) -> set[str]:
    """Top-level names of all modules that a distribution imports and that are neither Python's nor its own."""
    (package,) = (ROOT / distribution).glob("sealwright_*/__init__.py")
    names = {name for source in package.parent.rglob("*.py") for name in _imports(source)}
    return {PROVIDED.get(name, name) for name in names} - sys.stdlib_module_names - {package.parent.name}


def _imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module.partition(".")[0]


def declared(distribution: str) -> set[str]:
    """Modules of the distributions that pyproject.toml asks for, extras among them."""
    project = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project.get("optional-dependencies", {}).values() for line in extra),
    ]
    names = {re.split(r"[^A-Za-z0-9-]", line)[0].replace("-", "_") for line in lines}
    renamed = {"llama_cpp_python": "llama_cpp", "python_pkcs11": "pkcs11"}
    return {renamed.get(name, name) for name in names}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_what_is_imported_is_declared(distribution: str) -> None:
    assert imported(distribution) - declared(distribution) == set()


@pytest.mark.parametrize(("distribution", "allowed"), COMPLETE.items())
def test_the_contract_and_the_client_import_nothing_else(distribution: str, allowed: set[str]) -> None:
    assert imported(distribution) <= allowed
