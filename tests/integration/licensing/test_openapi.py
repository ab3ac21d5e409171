"""Both OpenAPI documents against running processes: whatever fits the schemas, or does not, gets no 5xx.

schemathesis makes the requests. Every answer must be one that the document names; every error a problem with a code.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from sealwright_licensing.keys import TLS_CA_CERTIFICATE
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_server import LicenseServer, running_service
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OPERATOR

EXAMPLES = 6
"""Requests of each kind for each operation."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LicenseWorld]:
    made = LicenseWorld.create(tmp_path_factory.mktemp("openapi") / "service", now=int(time.time()))
    config = made.folder.config_file
    lines = [
        f"{line.split('=')[0]}= 1000000" if line.startswith(("requests_per_minute", "failed_")) else line
        for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join(lines))
    EnrolledDevice.enroll(made)
    yield made
    made.store.close()


def exercise(server: LicenseServer, headers: dict[str, str]) -> int:
    """Ask each operation with good and with bad requests; returns the number of operations."""
    with server.client() as client:
        described = client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(described)
    results = list(schema.get_all_operations())
    operations = [found.ok() for found in results if isinstance(found, Ok)]
    assert len(operations) == len(results)
    verify = str(server.folder.keys / TLS_CA_CERTIFICATE)
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _exercise_one(operation, mode, {"base_url": server.url, "headers": headers, "verify": verify})
    assert '"status":500' not in server.log.read_text()
    return len(operations)


def _exercise_one(operation: Any, mode: GenerationMode, how: dict[str, Any]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        reply = case.call(**how)
        checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
        case.validate_response(reply, checks=checks)
        if reply.status_code >= 400:
            assert reply.headers["content-type"][0].startswith("application/problem+json")
            assert reply.json()["code"]

    try:
        ask()
    except Unsatisfiable:  # nothing can be wrong with a request that has neither parameter nor body
        assert mode is GenerationMode.NEGATIVE


def test_boxes_interface(world: LicenseWorld) -> None:
    with running_service(world.folder) as server:
        assert exercise(server, {}) >= 6


def test_operators_interface(world: LicenseWorld) -> None:
    _, token = create_token(world.store, OPERATOR, "schemathesis", Role.OPERATOR, now=int(time.time()))
    with running_service(world.folder, "serve-operators") as server:
        assert exercise(server, {"Authorization": f"Bearer {token}"}) >= 30
