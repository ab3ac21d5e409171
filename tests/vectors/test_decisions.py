"""Runs the vectors of ``decisions/``: the services over a SQLite file that holds the records of the vector."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sealwright_licensing import schema
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.database import open_engine
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.grants import Grantor
from sealwright_licensing.initialisation import create_service
from sealwright_licensing.keys import SigningKeys, load_signing_keys
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Device, DeviceRelease
from sealwright_licensing.release import KeyRelease
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tpm_floor import TpmFloor
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    RenewalRequest,
)
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.decision_records import KINDS, fill, log_releases
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors, require_sections

DIRECTORY = Path(__file__).parent / "decisions"
VECTORS = load_vectors(DIRECTORY)
COMMON = json.loads((DIRECTORY / "common/records.json").read_text())


@dataclass(frozen=True)
class Keys:
    """What a service signs with, and as what it is known."""

    signing: SigningKeys
    key_release: KeyRelease
    service: LicenseService


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys of a service, drawn anew: no decision hangs on them but for the nonces, whose key is the vector's."""
    folder = create_service(
        tmp_path_factory.mktemp("service") / "service", url="https://localhost:8444", service_id="service-1", now=NOW
    )
    return _keys(folder)


def _keys(folder: ServiceFolder) -> Keys:
    signing = load_signing_keys(folder.keys)
    release = KeyRelease(load_custodians(folder.keys))
    return Keys(signing, release, parse_json(LicenseService, folder.service_file.read_bytes(), limit=65536))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema and nothing in it."""
    path = tmp_path_factory.mktemp("empty") / "service.db"
    engine = open_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Iterator[SqlStore]:
    """A copy of it."""
    made = SqlStore(open_engine(f"sqlite:///{shutil.copy(empty, tmp_path)}"))
    yield made
    made.close()


def decision(vector: LoadedVector, store: SqlStore, keys: Keys) -> Callable[[], object]:
    """The vector's operation on its message at its time."""
    values, operation = vector.input, vector.manifest["operation"]
    members = json.loads((DIRECTORY / f"common/{operation}.json").read_text()) | values["message"]
    message = json.dumps(members).encode()
    grantor = Grantor(
        replace(keys.signing, nonce=bytes.fromhex(values["nonce_key"])), keys.key_release, ReleaseProofs(store)
    )
    enrollment = EnrollmentService(store, grantor, TpmFloor())
    renewal = RenewalService(store, grantor, StatelessNonces(grantor.keys.nonce), TpmFloor())
    now = values["now"]
    if operation == "challenge":
        request = parse_json(EnrollmentRequest, message, limit=MESSAGE_LIMIT)
        return lambda: enrollment.challenge(request, now=now)
    if operation == "prove":
        proof = parse_json(EnrollmentProof, message, limit=MESSAGE_LIMIT)
        return lambda: enrollment.prove(proof, now=now)
    asked = parse_json(RenewalRequest, message, limit=MESSAGE_LIMIT)
    return lambda: renewal.renew(asked, now=now)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector, store: SqlStore, keys: Keys) -> None:
    """The service decides as expected, grants what is expected and no more, and leaves the records expected."""
    fill(store, vector.input["records"], COMMON)
    if vector.input.get("releases_logged", True):
        log_releases(store, keys.signing.log, keys.service.service_id)

    reply = check_outcome(vector, decision(vector, store, keys))

    expected = vector.expected
    if "reply" in expected:
        assert reply == base64.b64decode(expected["reply"])
    if "leases" in expected:
        assert isinstance(reply, bytes)
        check_leases(reply, expected["leases"], keys)
    with store.read() as transaction:
        for kind, count in expected.get("rows", {}).items():
            assert transaction.count(KINDS[kind]) == count, kind
        if "device" in expected:
            (device,) = transaction.find(Device)
            assert {name: getattr(device, name) for name in expected["device"]} == expected["device"]
        if "device_release" in expected:
            (given,) = transaction.find(DeviceRelease)
            row = expected["device_release"]
            assert {name: getattr(given, name) for name in row} == row


def check_leases(reply: bytes, expected: list[dict[str, Any]], keys: Keys) -> None:
    """As many leases as expected, in order, each with these terms."""
    grant = parse_json(Grant, reply, limit=MESSAGE_LIMIT)
    leases = [verify_lease(token, keys.service).model_dump(mode="json") for token in grant.leases]
    assert len(leases) == len(expected)
    for lease, terms in zip(leases, expected, strict=True):
        for name, value in terms.items():
            found = lease[name]
            assert ({key: found[key] for key in value} if isinstance(value, dict) else found) == value, name


def test_every_vector_names_a_section_that_exists() -> None:
    require_sections(VECTORS)
