"""The licence service as a process of its own, started by its command, on a free port of loopback."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel

from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.keys import TLS_CA_CERTIFICATE
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
    RenewalRequest,
)

STOP_TIMEOUT_S = 30


@dataclass(frozen=True)
class LicenseServer:
    """A running service."""

    url: str
    folder: ServiceFolder
    process: subprocess.Popen[str]
    log: Path

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts this service's authority alone."""
        return ssl.create_default_context(cafile=str(self.folder.keys / TLS_CA_CERTIFICATE))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def client(self, tls: ssl.SSLContext | None = None) -> httpx.Client:
        """An HTTP client as a box has it; ``tls`` is :attr:`tls`, which many clients may share."""
        return httpx.Client(base_url=self.url, verify=tls or self.tls, timeout=60)

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S)


class DeniedError(Exception):
    """The service answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.code}: {problem.detail}")
        self.problem = problem


@dataclass(frozen=True)
class BoxClient:
    """The four calls of a box."""

    http: httpx.Client

    def challenge(self, request: EnrollmentRequest) -> EnrollmentChallenge:
        """POST /v1/enrollments."""
        return parse_json(EnrollmentChallenge, self._post("/v1/enrollments", request), limit=MESSAGE_LIMIT)

    def prove(self, proof: EnrollmentProof) -> Grant:
        """POST /v1/enrollments/proof."""
        return parse_json(Grant, self._post("/v1/enrollments/proof", proof), limit=MESSAGE_LIMIT)

    def nonce(self, device_id: str) -> bytes:
        """POST /v1/nonces."""
        reply = self._post("/v1/nonces", NonceRequest(device_id=device_id))
        return bytes(parse_json(Nonce, reply, limit=MESSAGE_LIMIT).nonce)

    def renew(self, request: RenewalRequest) -> Grant:
        """POST /v1/renewals."""
        return parse_json(Grant, self._post("/v1/renewals", request), limit=MESSAGE_LIMIT)

    def _post(self, path: str, document: BaseModel) -> bytes:
        reply = self.http.post(path, content=document_bytes(document), headers={"Content-Type": "application/json"})
        if reply.status_code >= 400:
            raise DeniedError(parse_json(Problem, reply.content, limit=MESSAGE_LIMIT))
        return reply.content


def set_limits(folder: ServiceFolder, **limits: float) -> None:
    """Change limits in a service's config.toml."""
    lines = folder.config_file.read_text().splitlines()
    for name, value in limits.items():
        lines = [f"{name} = {value}" if line.startswith(f"{name} =") else line for line in lines]
    folder.config_file.write_text("\n".join(lines) + "\n")


@contextmanager
def running_service(
    folder: ServiceFolder, command: str = "serve", *, number: int = 0, workers: int | None = None, port: int = 0
) -> Iterator[LicenseServer]:
    """Run ``sealwright-license serve``, or ``serve-operators``, until the block ends.

    Args:
        folder: of the service.
        command: the one to run.
        number: tells several on one folder apart.
        workers: processes behind its address.
        port: to listen on; 0: a free one.
    """
    log = folder.path / f"{command}-{number}.log"
    argv = [str(Path(sys.executable).parent / "sealwright-license"), command, str(folder.path), "--port", str(port)]
    argv += [] if workers is None else ["--workers", str(workers)]
    with log.open("w") as errors:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "serving https://" not in line:
                raise RuntimeError(f"the service did not start: {line}{log.read_text()}")
            yield LicenseServer(line.rsplit(" ", 1)[1].strip(), folder, process, log)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(STOP_TIMEOUT_S)
            if process.stdout is not None:
                process.stdout.close()
