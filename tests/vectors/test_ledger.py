"""Runs the vectors of ``ledger/``: what a build refuses to trust without a recorded reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sealwright_image.tcb_ledger import parse_ledger, require_recorded
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "ledger"
VECTORS = load_vectors(DIRECTORY)


def run(values: Any) -> None:
    require_recorded(values["measured"], parse_ledger(values["ledger"]), None, Path("product.toml"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    check_outcome(vector, lambda: run(vector.input))


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
