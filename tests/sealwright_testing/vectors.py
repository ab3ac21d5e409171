"""Test vectors: one folder each, with manifest.json, input.json or input.bin, and expected.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.errors import FormatError, RejectionCode, UnsupportedError, VerificationError

SPEC = Path(__file__).parents[2] / "policies/spec"


@dataclass(frozen=True)
class Vector:
    """One folder: what it shows, what goes in, what must come out."""

    name: str
    description: str
    section: str
    operation: str
    input: Mapping[str, Any]
    code: RejectionCode | None = None
    outcome: str = field(default="")

    def write(self, directory: Path) -> None:
        """Write the three files."""
        folder = directory / self.name
        folder.mkdir(parents=True)
        outcome = self.outcome or ("rejected" if self.code else "accepted")
        manifest = {"description": self.description, "spec": self.section, "operation": self.operation}
        expected = {"outcome": outcome} | ({"code": self.code.value} if self.code else {})
        for name, content in (("manifest", manifest), ("input", dict(self.input)), ("expected", expected)):
            (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True)
class LoadedVector:
    """A vector as read. ``input`` is None where the input is binary."""

    folder: Path
    manifest: dict[str, Any]
    expected: dict[str, Any]

    @property
    def input(self) -> Any:
        """The JSON input."""
        return json.loads((self.folder / "input.json").read_text())

    @property
    def input_bytes(self) -> bytes:
        """The binary input."""
        return (self.folder / "input.bin").read_bytes()


def load_vectors(directory: Path) -> list[LoadedVector]:
    """Return all vectors below a directory, by name."""
    return [
        LoadedVector(
            folder,
            json.loads((folder / "manifest.json").read_text()),
            json.loads((folder / "expected.json").read_text()),
        )
        for folder in sorted(directory.iterdir())
        if folder.is_dir() and (folder / "manifest.json").exists()
    ]


def check_outcome(vector: LoadedVector, operation: Callable[[], object]) -> object:
    """Run the operation and demand the vector's outcome; return what an accepted one returns."""
    outcome = vector.expected["outcome"]
    if outcome == "accepted":
        return operation()
    if outcome == "rejected":
        with pytest.raises(VerificationError) as error:
            operation()
        assert error.value.code == vector.expected["code"]
    else:
        with pytest.raises({"malformed": FormatError, "unsupported": UnsupportedError}[outcome]):
            operation()
    return None


def require_sections(vectors: Iterable[LoadedVector]) -> None:
    """Each vector's ``spec`` is a document of policies/spec and the number of one of its sections."""
    for vector in vectors:
        document, section = vector.manifest["spec"].split()
        assert f"\n## {section} " in (SPEC / document).read_text(), vector.folder.name
