"""Runs the vectors of ``domains/``: refusals, answers, the digest, and the compiled examples byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.domains.canonical import canonical_form, domain_digest
from sealwright_policies.domains.chain import verify_domains
from sealwright_policies.domains.compiler import compile_domains
from sealwright_policies.domains.explanation import explain
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_testing.domain_texts import parse_texts
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "domains"
VECTORS = load_vectors(DIRECTORY)


def run_verify(values: Any) -> object:
    return verify_domains(parse_texts(values["files"]))


def run_explain(values: Any) -> object:
    verb, *words = values["question"].split()
    answer = explain(verify_domains(parse_texts(values["files"])), values["domain"], verb, words)
    if not answer.allowed:
        raise VerificationError(RejectionCode.DOMAIN_FORBIDS, answer.question)
    return answer


def run_digest(values: Any) -> object:
    (source,) = parse_texts(values["files"])
    return {"canonical_form": canonical_form(source.domain).decode(), "digest": domain_digest(source.domain).hex()}


def run_compile(values: Any) -> dict[str, bytes]:
    return compile_domains(
        verify_domains(parse_texts(values["files"])), values["workload_root_hashes"], values["root_hash"]
    )


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "verify_domains": run_verify,
    "explain": run_explain,
    "digest": run_digest,
    "compile_domains": run_compile,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    result = check_outcome(vector, lambda: OPERATIONS[vector.manifest["operation"]](vector.input))
    if "result" in vector.expected:
        assert result == vector.expected["result"]
    golden = vector.folder / "files"
    if golden.exists():
        assert result == {f"/{one.relative_to(golden)}": one.read_bytes() for one in golden.rglob("*") if one.is_file()}


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
