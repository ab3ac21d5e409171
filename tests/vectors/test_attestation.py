"""Runs the vectors of ``attestation/`` and checks that they cover the specification."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.attestation import verify_certify, verify_nv_certify, verify_quote
from sealwright_policies.tcg.nv import parse_nv_public
from sealwright_policies.tcg.public import Public, parse_public
from sealwright_policies.tcg.srk import matches_listed_template
from sealwright_policies.tcg.templates import check_ak
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors

DIRECTORY = Path(__file__).parent / "attestation"
SPEC = Path(__file__).parents[2] / "policies/spec/attestation.md"
VECTORS = load_vectors(DIRECTORY)


def statement(values: dict[str, Any]) -> tuple[Public, bytes, bytes]:
    ak = parse_public(bytes.fromhex(values["ak"]))
    return ak, bytes.fromhex(values["attest"]), bytes.fromhex(values["signature"])


def run_quote(values: dict[str, Any]) -> object:
    return verify_quote(
        *statement(values),
        qualifying_data=bytes.fromhex(values["qualifying_data"]),
        pcrs={int(index): bytes.fromhex(value) for index, value in values["pcrs"].items()},
        selection=values["selection"],
    )


def run_certify(values: dict[str, Any]) -> object:
    public = parse_public(bytes.fromhex(values["public"]))
    return verify_certify(*statement(values), qualifying_data=bytes.fromhex(values["qualifying_data"]), public=public)


def run_nv_certify(values: dict[str, Any]) -> object:
    nv_public = parse_nv_public(bytes.fromhex(values["nv_public"]))
    return verify_nv_certify(
        *statement(values), qualifying_data=bytes.fromhex(values["qualifying_data"]), nv_public=nv_public
    )


OPERATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "verify_quote": run_quote,
    "verify_certify": run_certify,
    "verify_nv_certify": run_nv_certify,
    "check_ak": lambda values: check_ak(parse_public(bytes.fromhex(values["public"]))),
    "matches_listed_template": lambda values: matches_listed_template(parse_public(bytes.fromhex(values["public"]))),
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    """The operation comes to the expected outcome, with the expected code."""
    check_outcome(vector, lambda: OPERATIONS[vector.manifest["operation"]](vector.input))


def test_every_section_has_a_vector_or_a_reason() -> None:
    """coverage.json lists, for each numbered section of the specification, that vectors exist or why none does."""
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\b", SPEC.read_text(), re.MULTILINE))
    gaps = json.loads((DIRECTORY / "coverage.json").read_text())["gaps"]
    covered = {vector.manifest["spec"].split()[1] for vector in VECTORS}
    assert covered <= sections
    assert covered | set(gaps) == sections
    assert not covered & set(gaps)


def test_every_code_of_attestation_structures_has_a_vector() -> None:
    """The closed set of codes that verification of statements can give."""
    codes = {vector.expected.get("code") for vector in VECTORS} - {None}
    assert codes == {
        RejectionCode.SIGNATURE_INVALID,
        RejectionCode.SIGNATURE_ALGORITHM,
        RejectionCode.NOT_TPM_GENERATED,
        RejectionCode.ATTESTATION_TYPE,
        RejectionCode.QUALIFYING_DATA_MISMATCH,
        RejectionCode.PCR_SELECTION_MISMATCH,
        RejectionCode.PCR_DIGEST_MISMATCH,
        RejectionCode.SIGNER_NOT_ENDORSEMENT,
        RejectionCode.AK_ATTRIBUTES,
        RejectionCode.SRK_TEMPLATE,
        RejectionCode.SRK_NAME_MISMATCH,
        RejectionCode.SRK_HIERARCHY,
        RejectionCode.COUNTER_INVALID,
    }
