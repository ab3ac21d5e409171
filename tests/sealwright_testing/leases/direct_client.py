"""The box's client of a licence service that is in this process: the real decisions, without HTTP.

Messages are written and read as they travel, and the network and the service's power can fail around every one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from sealwright_appliance.license_client import DeniedError, LicenseClient, ServiceUnreachableError
from sealwright_licensing.problems import problem_of
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    NonceRequest,
    RenewalRequest,
)
from sealwright_testing.leases.fuse import Fuse
from sealwright_testing.license_world import LicenseWorld

R = TypeVar("R", bound=BaseModel)


class DirectClient(LicenseClient):
    """One box's network."""

    def __init__(
        self, world: LicenseWorld, fuse: Fuse, now: Callable[[], int], granted: Callable[[Lease], None]
    ) -> None:
        self._world = world
        self._fuse = fuse
        self._now = now
        self._granted = granted
        self.connected = True
        self.losing: Callable[[], bool] = lambda: False

    def close(self) -> None:
        """Nothing is open."""

    def _post(self, path: str, message: BaseModel, kind: type[R]) -> R:
        if not self.connected:
            raise ServiceUnreachableError("The cable is out.")
        self._fuse.pass_by(f"before {path}")
        try:
            body = self._answer(path, document_bytes(message), self._now())
        except SealwrightError as error:
            problem = problem_of(error)
            raise DeniedError(problem.status, problem) from None
        reply = parse_json(kind, body, limit=MESSAGE_LIMIT)
        if isinstance(reply, Grant):
            self._granted(verify_lease(reply.leases[0], self._world.service))
        self._fuse.pass_by(f"after {path}")
        if self.losing():
            raise ServiceUnreachableError("The answer got lost.")
        return reply

    def _answer(self, path: str, body: bytes, now: int) -> bytes:
        enrollment, renewal = self._world.enrollment, self._world.renewal
        match path:
            case "/v1/enrollments":
                request = parse_json(EnrollmentRequest, body, limit=MESSAGE_LIMIT)
                return document_bytes(enrollment.challenge(request, now=now))
            case "/v1/enrollments/proof":
                return enrollment.prove(parse_json(EnrollmentProof, body, limit=MESSAGE_LIMIT), now=now)
            case "/v1/nonces":
                return document_bytes(renewal.nonce(parse_json(NonceRequest, body, limit=MESSAGE_LIMIT), now=now))
            case "/v1/renewals":
                return renewal.renew(parse_json(RenewalRequest, body, limit=MESSAGE_LIMIT), now=now)
            case _:
                raise AssertionError(path)
