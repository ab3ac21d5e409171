"""Runs the vectors of ``metering/``: reports that are refused, and what becomes of receipts that are not."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sealwright_policies.metering.judgement import HeldChain, Judgement, judge_receipts
from sealwright_policies.metering.receipt import parse_receipt
from sealwright_policies.metering.report import MeteringHead, MeteringReport, verify_receipts
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.metering import DEVICE, LICENSE
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "metering"
VECTORS = load_vectors(DIRECTORY)
BOX = SyntheticBox()


def run_report(vector: LoadedVector) -> None:
    """The receipts of a report and its head."""
    given = vector.input
    verify_receipts(
        MeteringReport(
            device_id=DEVICE,
            license_id=LICENSE,
            release_id="0" * 64,
            nonce=bytes(32),
            receipts=[base64.b64decode(one) for one in given["receipts"]],
            evidence=BOX.evidence(payload=document_bytes(MeteringHead(**given["head"]))),
        )
    )


def run_judge(vector: LoadedVector) -> Judgement:
    """Earlier reports, then the last."""
    given = vector.input
    held: HeldChain | None = None
    known: dict[str, bool] = {}
    for contents in [*given["before"], given["receipts"]]:
        receipts = [parse_receipt(base64.b64decode(content)) for content in contents]
        judged = judge_receipts(receipts, held, known, refused_start=given["refused_start"])
        held = judged.head
        known |= {one.sealed.digest: one.disputed for one in judged.new}
    return judged


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    """Refused with the code, or judged with these findings and these receipts in dispute."""
    if vector.manifest["operation"] == "report":
        check_outcome(vector, lambda: run_report(vector))
        return
    judged = run_judge(vector)
    assert [one.code for one in judged.findings] == vector.expected.get("codes", [])
    assert [one.disputed for one in judged.new] == vector.expected["disputed"]


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
