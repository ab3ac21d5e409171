"""Writes the vectors of ``tests/vectors/decisions/``: records, a message and a time, and what the service decides.

Run ``python -m sealwright_testing.decision_vectors tests/vectors/decisions`` after a change of a message or record. New
keys are drawn; what each vector must come to is written by hand in :mod:`sealwright_testing.decision_cases`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from sealwright_testing.decision_case import Case
from sealwright_testing.decision_cases import cases
from sealwright_testing.decision_records import members_of, records_json
from sealwright_testing.decision_scene import Scene

COMMON = "common"


def write(directory: Path) -> None:
    """Write every vector below a directory, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    scene = Scene()
    (directory / COMMON).mkdir(parents=True)
    _dump(directory / COMMON / "records.json", {name: members_of(record) for name, record in scene.common.items()})
    for name, message in scene.messages.items():
        _dump(directory / COMMON / f"{name}.json", message.model_dump(mode="json"))
    for name, case in cases(scene).items():
        folder = directory / name
        folder.mkdir()
        described = {"description": name.replace("-", " "), "spec": case.section, "operation": case.operation}
        _dump(folder / "manifest.json", described)
        _dump(folder / "input.json", _input(scene, case))
        outcome = {"outcome": "rejected", "code": case.code.value} if case.code else {"outcome": "accepted"}
        _dump(folder / "expected.json", outcome | case.expected)


def _input(scene: Scene, case: Case) -> dict[str, Any]:
    records = records_json(case.records, scene.common)
    values = {"now": case.now, "nonce_key": case.nonce_key.hex(), "message": case.message, "records": records}
    return values if case.is_logged else values | {"releases_logged": False}


def _dump(path: Path, members: dict[str, Any]) -> None:
    path.write_text(json.dumps(members, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
