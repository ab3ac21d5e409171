"""Both interfaces of a licence service, asked at random: requests that fit its OpenAPI documents, and that do not.

schemathesis makes the requests; ids and members of a document are, now and then, ones that the service knows, so that
not everything ends at a missing record. Every answer must be one that the document names, none a server's error, every
error a problem with a code. ``make test-fuzz`` runs this for ten minutes, each round on a service of its own;
tests/integration/licensing/test_openapi.py is the short run.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from pydantic import BaseModel
from requests import Session
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from sealwright_licensing.keys import TLS_CA_CERTIFICATE
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_licensing.records import Decision, Device, LeaseRecord, License, ReleaseRecord
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.messages import NonceRequest
from sealwright_testing.license_server import LicenseServer, running_service, set_limits
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.troubled_fleet import make_fleet

EXAMPLES = 25
"""Requests of each kind for each operation, in a round of the long run."""
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
_PAST_S = 300
"""The fleet has lived that long when the processes start, whose time is the real one."""


@dataclass(frozen=True)
class Known:
    """What the service knows, by the names that it has in paths and documents."""

    ids: Mapping[str, list[str]]
    documents: Mapping[str, Mapping[str, Any]]
    """By the path of a box's request: one that is granted."""

    def put_into(self, case: Case[Any], data: st.DataObject) -> None:
        """Have some of what a request names be something that is there."""
        for name in set(case.path_parameters or {}) & set(self.ids):
            case.path_parameters[name] = data.draw(st.sampled_from([case.path_parameters[name], *self.ids[name]]))
        document = self.documents.get(case.path)
        if document and isinstance(case.body, dict):
            kept = data.draw(st.just(set(document)) | st.sets(st.sampled_from(sorted(document))))
            case.body = case.body | {name: document[name] for name in kept}


@dataclass
class Questions:
    """Requests to one process, and what became of them."""

    server: LicenseServer
    headers: Mapping[str, str]
    known: Known
    examples: int
    seed: int | None = None
    """None: the same requests each time."""
    until: Callable[[], bool] = lambda: True
    """Whether to go on to the next operation."""
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By path and kind of status: 2xx, 3xx, 4xx."""

    @property
    def granted(self) -> set[str]:
        """The paths that have answered as asked for."""
        return {path for path, status in self.answers if status == "2xx"}

    def ask(self) -> int:
        """Ask each operation with good and with bad requests; returns the number of operations.

        Raises:
            AssertionError: an answer that no server of this interface may give; schemathesis says which request had it.
        """
        with self.server.client() as client:
            described = client.get("/openapi.json").json()
        results = list(schemathesis.openapi.from_dict(described).get_all_operations())
        operations = [found.ok() for found in results if isinstance(found, Ok)]
        assert len(operations) == len(results)
        with Session() as session:
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    if self.until():
                        self._ask_one(operation, mode, session)
        assert '"status":500' not in self.server.log.read_text()
        return len(operations)

    def _ask_one(self, operation: Any, mode: GenerationMode, session: Session) -> None:
        trusted = str(self.server.folder.keys / TLS_CA_CERTIFICATE)

        @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
        @settings(
            max_examples=self.examples, derandomize=self.seed is None, database=None, deadline=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def one(case: Case[Any], data: st.DataObject) -> None:
            self.known.put_into(case, data)
            reply = case.call(self.server.url, session, dict(self.headers), verify=trusted)
            self.answers[operation.path, f"{reply.status_code // 100}xx"] += 1
            case.validate_response(reply, checks=CHECKS)
            if reply.status_code >= 400:
                assert reply.headers["content-type"][0].startswith("application/problem+json")
                assert reply.json()["code"]

        try:
            (one if self.seed is None else seed(self.seed)(one))()
        except Unsatisfiable:  # nothing can be wrong with a request that has neither parameter nor body
            assert mode is GenerationMode.NEGATIVE


@contextmanager
def asked_world(folder: Path) -> Iterator[tuple[LicenseWorld, Known]]:
    """A service with a fleet, that takes requests as fast as they come."""
    world = LicenseWorld.create(folder, now=int(time.time()) - _PAST_S)
    set_limits(world.folder, requests_per_minute=1_000_000, failed_enrollments_per_hour=1_000_000)
    try:
        make_fleet(world)
        documents = _documents(world)
        world.sequence()
        yield world, Known(_ids(world), documents)
    finally:
        world.store.close()


def _documents(world: LicenseWorld) -> Mapping[str, Mapping[str, Any]]:
    license_, codes = world.issue(seats=3)
    new, pending, enrolled = (world.device(number) for number in range(3, 6))
    challenge = world.enrollment.challenge(pending.request(codes[1]), now=world.now)
    world.enroll(enrolled, codes[2])
    asked = NonceRequest(device_id=enrolled.device_id)
    nonce = bytes(world.renewal.nonce(asked, now=world.now).nonce)
    messages: Mapping[str, BaseModel] = {
        "/v1/enrollments": new.request(codes[0]),
        "/v1/enrollments/proof": pending.proof(challenge),
        "/v1/nonces": asked,
        "/v1/renewals": enrolled.renewal(license_.license_id, nonce),
    }
    return {path: json.loads(document_bytes(message)) for path, message in messages.items()}


def _ids(world: LicenseWorld) -> Mapping[str, list[str]]:
    kinds: Mapping[str, type[Any]] = {
        "license_id": License, "device_id": Device, "release_id": ReleaseRecord, "lease_id": LeaseRecord,
        "decision_id": Decision, "token_id": ApiToken,
    }  # fmt: skip
    with world.store.read() as transaction:
        return {name: [getattr(one, name) for one in transaction.find(kind)] for name, kind in kinds.items()}


@contextmanager
def boxes(world: LicenseWorld, known: Known, examples: int, **how: Any) -> Iterator[Questions]:
    """Questions to the process that boxes ask."""
    with running_service(world.folder) as server:
        yield Questions(server, {}, known, examples, **how)


@contextmanager
def operators(world: LicenseWorld, known: Known, examples: int, **how: Any) -> Iterator[Questions]:
    """Questions to the process that operators ask, by one who may do everything."""
    _, token = create_token(world.store, OPERATOR, "schemathesis", Role.OPERATOR, now=int(time.time()))
    with running_service(world.folder, "serve-operators") as server:
        yield Questions(server, {"Authorization": f"Bearer {token}"}, known, examples, **how)


def main() -> int:
    """Ask round after round until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.interfaces", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    arguments = parser.parse_args()
    logging.disable()  # a fleet raises alarms when it is made
    print(f"interfaces: seed {arguments.seed}", flush=True)
    end = time.monotonic() + arguments.minutes * 60
    number, failed, answers = arguments.seed, 0, Counter[str]()
    while time.monotonic() < end:
        with (
            tempfile.TemporaryDirectory(prefix="sealwright-asked-") as folder,
            asked_world(Path(folder) / "s") as asked,
        ):
            for kind in (boxes, operators):
                with kind(*asked, EXAMPLES, seed=number, until=lambda: time.monotonic() < end) as questions:
                    try:
                        questions.ask()
                    except (Exception, BaseExceptionGroup) as error:
                        failed += 1
                        print(f"FAILED {kind.__name__}, seed {number}", flush=True)
                        traceback.print_exception(error, limit=0, file=sys.stdout)
                    for (_, status), count in questions.answers.items():
                        answers[status] += count
        number += 1
    shown = ", ".join(f"{status} {answers[status]}" for status in sorted(answers))
    print(f"interfaces: {answers.total()} requests in {number - arguments.seed} rounds: {shown}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
