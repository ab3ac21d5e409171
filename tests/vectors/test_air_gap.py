"""Runs the vectors of ``air-gap/``: encodings, and the service over a SQLite file with the records of the vector."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwright_licensing import schema
from sealwright_licensing.config import ServiceConfig, ServiceFolder, load_config
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.database import open_engine
from sealwright_licensing.initialisation import create_service
from sealwright_licensing.keys import load_signing_keys
from sealwright_licensing.services import wire_services
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.appraisal.boot_logs import digest_of_logs
from sealwright_policies.wire.air_gap import parse_qr_text, parse_request, verify_reply
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.decision_records import fill, log_releases
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "air-gap"
VECTORS = load_vectors(DIRECTORY)
COMMON = json.loads((DIRECTORY / "common/records.json").read_text())
Values = Mapping[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ServiceFolder:
    """A service, whose keys make no difference but for the nonces'."""
    return create_service(
        tmp_path_factory.mktemp("service") / "service", url="https://localhost:8444", service_id="service-1", now=NOW
    )


def run_verify_reply(values: Values) -> object:
    key = values["key"]
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
    return verify_reply(values["token"], service)


OPERATIONS: dict[str, Callable[[Values], object]] = {
    "parse_qr_text": lambda values: parse_qr_text(values["text"]).model_dump(mode="json"),
    "parse_request": lambda values: parse_request(values["content"].encode()),
    "verify_reply": run_verify_reply,
    "digest_of_logs": lambda values: digest_of_logs(
        base64.b64decode(values["boot_log"]), base64.b64decode(values["userspace_log"])
    ).hex(),
}


def answer(values: Values, folder: ServiceFolder, database: Path) -> object:
    """A service with these records, asked with the text of a QR code."""
    engine = open_engine(f"sqlite:///{database}")
    schema.upgrade(engine)
    store = SqlStore(engine)
    fill(store, values["records"], COMMON)
    keys = replace(load_signing_keys(folder.keys), nonce=bytes.fromhex(values["nonce_key"]))
    config: ServiceConfig = load_config(folder)
    log_releases(store, keys.log, config.service_id)
    try:
        air_gap = wire_services(store, keys, load_custodians(folder.keys), config).air_gap
        return air_gap.answer(values["text"].encode(), now=values["now"])
    finally:
        store.close()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector, folder: ServiceFolder, tmp_path: Path) -> None:
    """The operation comes to the expected outcome and, where one is known, result."""
    operation, values = vector.manifest["operation"], vector.input

    def run() -> object:
        return answer(values, folder, tmp_path / "db") if operation == "answer" else OPERATIONS[operation](values)

    result = check_outcome(vector, run)

    if "result" in vector.expected:
        assert result == vector.expected["result"]


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
