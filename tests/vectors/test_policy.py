"""Runs the vectors of ``policy/``: digests that a TPM's trial sessions gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.tcg import policy
from sealwright_testing.vectors import LoadedVector, load_vectors

START = policy.EMPTY_POLICY
VECTORS = load_vectors(Path(__file__).parent / "policy")


def comparison(values: dict[str, Any]) -> tuple[bytes, int, policy.Operation]:
    return bytes.fromhex(values["operand"]), values["offset"], policy.Operation(values["operation"])


OPERATIONS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "policy_pcr": lambda v: policy.policy_pcr(START, {int(i): bytes.fromhex(x) for i, x in v["pcrs"].items()}),
    "policy_counter_timer": lambda v: policy.policy_counter_timer(START, *comparison(v)),
    "policy_nv": lambda v: policy.policy_nv(START, *comparison(v), bytes.fromhex(v["nv_name"])),
    "policy_command_code": lambda v: policy.policy_command_code(START, v["command_code"]),
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    """The digest is the one that the TPM computed."""
    assert OPERATIONS[vector.manifest["operation"]](vector.input).hex() == vector.expected["digest"]


def test_every_operation_has_a_vector() -> None:
    assert {vector.manifest["operation"] for vector in VECTORS} == set(OPERATIONS)
