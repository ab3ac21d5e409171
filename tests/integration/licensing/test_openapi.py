"""Both OpenAPI documents against running processes: whatever fits the schemas, or does not, gets no 5xx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwright_testing.interfaces import Known, asked_world, boxes, operators
from sealwright_testing.license_world import LicenseWorld

EXAMPLES = 6
"""Requests of each kind for each operation."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LicenseWorld, Known]]:
    with asked_world(tmp_path_factory.mktemp("openapi") / "service") as made:
        yield made


def test_boxes_interface(asked: tuple[LicenseWorld, Known]) -> None:
    with boxes(*asked, EXAMPLES) as questions:
        assert questions.ask() >= 6
    assert questions.granted >= set(questions.known.documents)


def test_operators_interface(asked: tuple[LicenseWorld, Known]) -> None:
    with operators(*asked, EXAMPLES) as questions:
        assert questions.ask() >= 30
    assert len(questions.granted) >= 20
