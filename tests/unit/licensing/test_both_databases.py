"""The suite itself: no service of these tests is on SQLite when they are asked for on PostgreSQL."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent


def makes_service(node: ast.Call) -> bool:
    return ast.unparse(node.func) == "LicenseWorld.create"


def test_every_service_is_told_its_database() -> None:
    calls = [
        (path.name, node)
        for path in sorted(HERE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and makes_service(node)
    ]
    without = [f"{name}:{call.lineno}" for name, call in calls if "database" not in {one.arg for one in call.keywords}]
    assert len(calls) > 5
    assert without == []
