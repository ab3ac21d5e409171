"""Finds what ``make models`` made: the GGUF files of the bundled models and what is known of them.

They stand in ``$XDG_CACHE_HOME/sealwright/models/HASH/``, HASH over everything that decides what they answer, so a
changed text or trainer never meets an old model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwright_policies.errors import OperationError
from sealwright_testing.models.material import DATA
from sealwright_testing.tools_root import cache_directory

SOURCES = ("material.py", "bpe.py", "network.py", "training.py", "checkpoint.py", "conversion.py")
INDEX = "models.json"


@dataclass(frozen=True, slots=True)
class Sample:
    """A question that the model is known to answer word for word (greedily, temperature 0)."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The bundled models in the cache. ``index`` is ``models.json`` as read."""

    directory: Path
    index: Mapping[str, Any]

    @classmethod
    def load(cls) -> ModelStore:
        """Open the models that belong to these sources.

        Raises:
            OperationError: they have not been made.
        """
        directory = expected_directory()
        try:
            index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise OperationError("The bundled models have not been made.", cure="Run `make models`.") from None
        return cls(directory, index)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.index["models"])

    def path(self, name: str) -> Path:
        """The GGUF file."""
        file: str = self.index["models"][name]["file"]
        return self.directory / file

    def license(self, name: str) -> Path:
        """The licence text, for product.toml."""
        return DATA / f"{name}.LICENSE.txt"

    def samples(self) -> Mapping[str, Sequence[Sample]]:
        """Per model, a few questions with the answers that it gave when it was checked."""
        return {
            name: tuple(Sample(sample["question"], sample["answer"]) for sample in model["samples"])
            for name, model in self.index["models"].items()
        }


def expected_directory() -> Path:
    """Where the models of these sources belong."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in [*(here / name for name in SOURCES), *sorted(DATA.iterdir())]:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return cache_directory() / "models" / digest.hexdigest()[:12]
