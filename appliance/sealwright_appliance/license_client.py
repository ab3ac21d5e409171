"""The box's calls to the licence service: JSON over TLS 1.3, trusting the one CA that is measured with the root.

No other CA, no redirect, no proxy of the environment; replies are bounded in size and in time. The dates of the
service's certificates are not looked at: a box whose clock is wrong has to renew (policies/spec/service.md, 2).
"""

from __future__ import annotations

import ssl
import time
from typing import Literal, TypeVar

import httpx
from pydantic import BaseModel

from sealwright_policies.errors import FormatError, OperationError, SealwrightError
from sealwright_policies.flows.report import FlowReply, FlowReport
from sealwright_policies.metering.report import MeteringReply, MeteringReport
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    Nonce,
    NonceRequest,
    Problem,
    Purpose,
    RenewalRequest,
)
from sealwright_policies.wire.service import LicenseService

R = TypeVar("R", bound=BaseModel)

CONNECT_S = 10.0
SILENCE_S = 60.0
"""Longest pause between two pieces of a reply."""
REPLY_S = 180.0
"""Longest time for a whole exchange: the service appraises, and its custodian may be a slow token."""
PROBLEM_LIMIT = 256 * 1024
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (OpenSSL, x509_vfy.h), to which Python gives no name."""


class ServiceUnreachableError(OperationError):
    """No answer that the service could have given: network, TLS, time, or not our protocol."""


class DeniedError(SealwrightError):
    """The service refused, with its reason."""

    exit_code = 10

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.status = status
        self.code = problem.code
        self.sentence = problem.detail
        self.problem = problem


class LicenseClient:
    """Talks to one licence service."""

    def __init__(self, service: LicenseService) -> None:
        self._client = httpx.Client(
            base_url=service.url,
            verify=_tls(service.ca),
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
            headers={"Accept": "application/json", "User-Agent": "sealwright-box"},
        )

    def enroll(self, request: EnrollmentRequest) -> EnrollmentChallenge:
        """Step 1 of an enrolment: say who the box is."""
        return self._post("/v1/enrollments", request, EnrollmentChallenge)

    def prove(self, proof: EnrollmentProof) -> Grant:
        """Steps 3 and 4: answer the challenge."""
        return self._post("/v1/enrollments/proof", proof, Grant)

    def nonce(
        self, device_id: str, purpose: Literal[Purpose.RENEW, Purpose.METERING, Purpose.FLOW] = Purpose.RENEW
    ) -> Nonce:
        """A fresh nonce, where that of the last lease is spent."""
        return self._post("/v1/nonces", NonceRequest(device_id=device_id, purpose=purpose), Nonce)

    def renew(self, request: RenewalRequest) -> Grant:
        """Show the state and get leases for the next number."""
        return self._post("/v1/renewals", request, Grant)

    def report(self, report: MeteringReport) -> MeteringReply:
        """Say what was served."""
        return self._post("/v1/metering", report, MeteringReply)

    def report_flows(self, report: FlowReport) -> FlowReply:
        """Say what came and went."""
        return self._post("/v1/flows", report, FlowReply)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _post(self, path: str, message: BaseModel, kind: type[R]) -> R:
        """Send a message.

        Raises:
            ServiceUnreachableError: no usable answer.
            DeniedError: refused.
        """
        status, body = self._exchange(path, document_bytes(message))
        try:
            if status in (httpx.codes.OK, httpx.codes.CREATED):
                return parse_json(kind, body, limit=MESSAGE_LIMIT)
            problem = parse_json(Problem, body, limit=PROBLEM_LIMIT)
        except FormatError as error:
            raise ServiceUnreachableError(f"The licence service answered {path} with {status}: {error}") from None
        raise DeniedError(status, problem)

    def _exchange(self, path: str, content: bytes) -> tuple[int, bytes]:
        try:
            try:
                return self._once(path, content)
            except httpx.RemoteProtocolError:
                # The service may have closed a kept connection just as it was used again, and lost the message. What
                # comes twice gets the same reply.
                return self._once(path, content)
        except httpx.HTTPError as error:
            raise ServiceUnreachableError(
                f"The licence service does not answer: {error or type(error).__name__}.",
                cure="Check the network and the name service.",
            ) from None

    def _once(self, path: str, content: bytes) -> tuple[int, bytes]:
        ends = time.monotonic() + REPLY_S
        received = bytearray()
        with self._client.stream("POST", path, content=content, headers={"Content-Type": "application/json"}) as reply:
            for part in reply.iter_bytes():
                received += part
                if len(received) > MESSAGE_LIMIT:
                    raise ServiceUnreachableError(f"The licence service's answer is over {MESSAGE_LIMIT} bytes.")
                if time.monotonic() > ends:
                    raise ServiceUnreachableError(f"The licence service's answer took over {REPLY_S:.0f} s.")
            return reply.status_code, bytes(received)


def _tls(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=ca)
    return context
