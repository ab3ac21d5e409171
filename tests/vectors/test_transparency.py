"""Runs the vectors of ``transparency/``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sealwright_licensing.audit import StoredNote, audit
from sealwright_licensing.audit_source import CHECKPOINTS_FOLDER, ENTRIES_FILE, ExportSource
from sealwright_policies.transparency.checkpoint import Checkpoint, verify_checkpoint
from sealwright_policies.transparency.entries import LogKeyEntry, parse_entry
from sealwright_policies.transparency.key_schedule import KeySchedule
from sealwright_policies.transparency.merkle import verify_consistency, verify_inclusion
from sealwright_policies.transparency.release_proof import ReleaseProof, verify_release_proof
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_ed25519_public_key
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

ROOT = Path(__file__).parent
VECTORS = load_vectors(ROOT / "transparency")
Values = Mapping[str, Any]


def hashes(values: Values, name: str) -> list[bytes]:
    return [bytes.fromhex(one) for one in values[name]]


def run_verify_inclusion(values: Values) -> None:
    leaf, root = bytes.fromhex(values["leaf"]), bytes.fromhex(values["root"])
    verify_inclusion(leaf, values["index"], values["size"], hashes(values, "path"), root)


def run_verify_consistency(values: Values) -> None:
    first, second = bytes.fromhex(values["first_root"]), bytes.fromhex(values["second_root"])
    verify_consistency(values["first"], values["second"], first, second, hashes(values, "path"))


def run_verify_checkpoint(values: Values) -> Checkpoint:
    return verify_checkpoint(values["note"], load_ed25519_public_key(values["key"]), values["origin"])


def run_verify_scheduled(values: Values) -> Checkpoint:
    schedule = KeySchedule([load_ed25519_public_key(key) for key in values["keys"]], values["origin"])
    for index, leaf in values["log_keys"].items():
        entry = parse_entry(leaf.encode())
        assert isinstance(entry, LogKeyEntry)
        schedule.note(int(index), entry)
    return schedule.verify(values["note"])


def run_verify_release_proof(values: Values) -> Checkpoint:
    key = values["log_key"]
    service = LicenseService(
        version=1,
        service_id="service-1",
        url="https://localhost:8444",
        ca=key,
        lease_document_key=key,
        lease_policy_key=key,
        device_ca=key,
        log_key=key,
        custodian_keys=CustodianKeys(lease_share=key, release_share=key),
    )
    proof = parse_json(ReleaseProof, json.dumps(values["proof"]).encode(), limit=65536)
    return verify_release_proof(proof, values["release_id"], service)


def run_audit(values: Values) -> None:
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / ENTRIES_FILE).write_text("".join(f"{entry}\n" for entry in values["entries"]))
        (folder / CHECKPOINTS_FOLDER).mkdir()
        (folder / CHECKPOINTS_FOLDER / "newest.txt").write_text(values["checkpoint"])
        kept = [StoredNote("kept", values["kept"])] if values["kept"] else []
        key = load_ed25519_public_key(values["log_key"])
        audit(ExportSource(folder), [key], "sealwright/v1/log/service-1", kept).require_clean()


OPERATIONS: dict[str, Callable[[Values], object]] = {
    "verify_inclusion": run_verify_inclusion,
    "verify_consistency": run_verify_consistency,
    "verify_checkpoint": run_verify_checkpoint,
    "verify_scheduled": run_verify_scheduled,
    "verify_release_proof": run_verify_release_proof,
    "audit": run_audit,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    """The operation comes to the expected outcome."""
    check_outcome(vector, lambda: OPERATIONS[vector.manifest["operation"]](vector.input))


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
