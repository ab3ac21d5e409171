"""Runs the vectors of ``appraisal/`` and checks that they cover the specification."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.boot_variants import verify_variants
from sealwright_policies.appraisal.clock import DeviceBaseline
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.appraisal.result import AttestationResult, describe, to_ear
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.wire.encoding import parse_json, pcr_bytes
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.messages import MESSAGE_LIMIT, CounterNames, Evidence, Purpose
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors

DIRECTORY = Path(__file__).parent / "appraisal"
SPEC = Path(__file__).parents[2] / "policies/spec/appraisal.md"
VECTORS = load_vectors(DIRECTORY)


@pytest.fixture(scope="module")
def release() -> Release:
    """The release of all vectors."""
    common = DIRECTORY / "common"
    key = load_p256_public_key((common / "manifest-key.pem").read_text())
    return verify_release((common / "release.json").read_bytes(), key)


def baseline(members: Mapping[str, Any] | None) -> DeviceBaseline | None:
    if members is None:
        return None
    pcrs = {name: pcr_bytes(members[name]) for name in ("pinned", "reported")}
    return DeviceBaseline(**(dict(members) | pcrs))


def run(values: Mapping[str, Any], release: Release) -> AttestationResult:
    if values["variants"] is not None:
        key = load_p256_public_key((DIRECTORY / "common/manifest-key.pem").read_text())
        release = verify_variants(values["variants"].encode(), key, release)
    return appraise(
        parse_json(Evidence, json.dumps(values["evidence"]).encode(), limit=MESSAGE_LIMIT),
        ak=parse_public(base64.b64decode(values["ak"])),
        nonce=bytes.fromhex(values["nonce"]),
        device_id=values["device_id"],
        license_id=values["license_id"],
        release=release,
        purpose=Purpose(values["purpose"]),
        now=values["now"],
        baseline=baseline(values["baseline"]),
        counter_names=CounterNames(**values["counter_names"]),
        version_floor=values.get("version_floor"),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector, release: Release) -> None:
    """The appraisal comes to the expected verdict and lists exactly the expected mismatches, in order."""
    values = vector.input
    results: list[AttestationResult] = []

    def operation() -> None:
        results.append(run(values, release))
        results[0].require_affirming()

    check_outcome(vector, operation)

    if not results:
        return
    result = results[0]
    assert [mismatch.code for mismatch in result.mismatches] == vector.expected.get("codes", [])
    affirming = not result.mismatches
    assert bool(result.unseal_pcrs) == affirming
    assert (result.baseline is not None) == affirming
    assert describe(result)[0].startswith(result.status.value)
    assert json.dumps(to_ear(result))


def test_every_section_has_a_vector_or_a_reason() -> None:
    """coverage.json lists, for each numbered section of the specification, why it has no vector if it has none."""
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\b", SPEC.read_text(), re.MULTILINE))
    gaps = json.loads((DIRECTORY / "coverage.json").read_text())["gaps"]
    covered = {vector.manifest["spec"].split()[1] for vector in VECTORS}
    assert covered <= sections
    assert covered | set(gaps) == sections
    assert not covered & set(gaps)
