"""Runs the vectors of ``owners/``: signatures under domains and workloads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.domains.ownership import (
    parse_signed_domain,
    require_signed_workloads,
    verify_signed_domain,
)
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "owners"
VECTORS = load_vectors(DIRECTORY)


def run_verify(values: Any) -> object:
    return verify_signed_domain(parse_signed_domain(json.dumps(values["signed"]).encode()))


def run_require(values: Any) -> None:
    signed = parse_signed_domain(json.dumps(values["signed"]).encode())
    require_signed_workloads(verify_signed_domain(signed), signed, values["images"])


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "verify_signed_domain": run_verify,
    "require_signed_workloads": run_require,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    check_outcome(vector, lambda: OPERATIONS[vector.manifest["operation"]](vector.input))


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
