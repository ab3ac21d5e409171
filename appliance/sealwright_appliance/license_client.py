"""The box's calls to the licence service: JSON over TLS 1.3, trusting the one CA that is measured with the root.

No other CA, no redirect, no proxy but the one that the customer has set, which sees ciphertext alone (CONNECT; the
handshake is with the service); replies are bounded in size and in time. The dates of the
service's certificates are not looked at: a box whose clock is wrong has to renew (policies/spec/service.md, 2).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Literal, TypeVar

import httpx
from pydantic import BaseModel

from sealwright_appliance.site.settings import Proxy
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


class Cause(StrEnum):
    """What stands between box and service."""

    NAME = "name"
    """Its name is not known to the name servers."""
    CONNECTION = "connection"
    PROXY = "proxy"
    """The proxy is not there."""
    PROXY_REFUSES = "proxy-refuses"
    TLS = "tls"
    """Somebody answers who is not the service."""
    REPLY = "reply"


class ServiceUnreachableError(OperationError):
    """No answer that the service could have given: network, TLS, time, or not our protocol."""

    def __init__(self, sentence: str, cause: Cause = Cause.REPLY, *, cure: str = "") -> None:
        super().__init__(sentence, cure=cure)
        self.cause = cause


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
        self._service = service
        self.use_proxy(None)

    def use_proxy(self, proxy: Proxy | None) -> None:
        """Go by another way from now on. Calls that are under way end as they began."""
        self._proxy = proxy
        self._client = httpx.Client(
            base_url=self._service.url,
            verify=_tls(self._service.ca),
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
            proxy=_url(proxy) if proxy is not None else None,
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
            raise self._unreachable(error) from None

    def _unreachable(self, error: httpx.HTTPError) -> ServiceUnreachableError:
        cause = _cause(error, by_proxy=self._proxy is not None)
        if cause is Cause.PROXY_REFUSES:
            status = str(error).split(" ", 1)[0][:3]  # the rest is a stranger's text
            return ServiceUnreachableError(
                f"The proxy does not connect to the licence service: {status}.", cause, cure="Check its rules."
            )
        who = "The proxy" if cause is Cause.PROXY else "The licence service"
        return ServiceUnreachableError(
            f"{who} does not answer: {error or type(error).__name__}.",
            cause,
            cure="Check the network and the name service.",
        )

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


def _cause(error: httpx.HTTPError, *, by_proxy: bool) -> Cause:
    if isinstance(error, httpx.ProxyError):
        return Cause.PROXY_REFUSES
    behind = list(_behind(error))
    if any(isinstance(one, ssl.SSLError) for one in behind):
        return Cause.TLS
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        if by_proxy:
            return Cause.PROXY
        return Cause.NAME if any(isinstance(one, socket.gaierror) for one in behind) else Cause.CONNECTION
    return Cause.REPLY


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was made of."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _url(proxy: Proxy) -> str:
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return f"http://{host}:{proxy.port}"


def _tls(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=ca)
    return context
