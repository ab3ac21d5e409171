"""Runs the vectors of ``flows/``: domains that chain or not, terms, frames, records."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.domains.canonical import parse_canonical_form
from sealwright_policies.domains.model import Form
from sealwright_policies.flows.content import FrameCipher
from sealwright_policies.flows.permission import (
    DomainPair,
    require_chained,
    require_opening,
)
from sealwright_policies.flows.record import parse_record, require_chain
from sealwright_policies.flows.verification import parse_terms
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "flows"
VECTORS = load_vectors(DIRECTORY)


def run_chained(values: Any) -> None:
    source, target = (parse_canonical_form(values[name].encode()) for name in ("source", "target"))
    require_chained(DomainPair(source, target), Form(values["form"]))


def run_opening(values: Any) -> None:
    domain = parse_canonical_form(values["domain"].encode())
    require_opening(domain, version=values["version"], tier=values["tier"], features=values["features"])


def run_frame(values: Any) -> None:
    cipher = FrameCipher.of(parse_terms(base64.b64decode(values["terms"])), bytes.fromhex(values["content_key"]))
    plain = cipher.open(values["number"], bytes.fromhex(values["frame"]))
    assert plain.hex() == values["plain"]
    assert cipher.seal(values["number"], plain).hex() == values["frame"]


def run_records(values: Any) -> None:
    records = [parse_record(base64.b64decode(one)) for one in values["records"]]
    require_chain(records)
    assert [one.digest for one in records] == values["digests"]


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "chained": run_chained,
    "opening": run_opening,
    "frame": run_frame,
    "records": run_records,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    check_outcome(vector, lambda: OPERATIONS[vector.manifest["operation"]](vector.input))


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
