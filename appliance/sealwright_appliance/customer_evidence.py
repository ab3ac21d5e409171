"""What the box shows to its customer, so that they need not take its word (policies/spec/box-evidence.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.attempt_limiter import AttemptLimiter, Rate
from sealwright_appliance.files import read_file
from sealwright_appliance.paths import Paths
from sealwright_appliance.renewal import Renewal, evidence_for
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_policies.appraisal.boot_variants import VARIANTS_LIMIT
from sealwright_policies.appraisal.box_evidence import BoxChallenge, BoxEvidence, tls_payload
from sealwright_policies.appraisal.reference_values import MANIFEST_LIMIT
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.messages import Purpose

EACH = Rate(at_once=3, every_s=20.0)
ALL = Rate(at_once=30, every_s=3.0)
"""A quote and two certified counters keep a discrete TPM busy for about a second, and renewals need it too."""


class EvidenceError(SealwrightError):
    """There is nothing to show, or it was asked for too often."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class PeerChallenge(BoxChallenge):
    """``POST /evidence`` of the agent."""

    peer: Annotated[str, Field(max_length=64)]
    """The asker's address, by the gateway's word."""


@dataclass(frozen=True, slots=True)
class CustomerEvidence:
    """Answers whoever asks what runs here."""

    paths: Paths
    board: StatusBoard
    renewal: Renewal | None
    """None before activation."""
    tpm_lock: threading.Lock
    limiter: AttemptLimiter = field(default_factory=lambda: AttemptLimiter(each=EACH, everybody=ALL))
    steady: Callable[[], float] = time.monotonic

    def show(self, nonce: bytes, peer: str) -> BoxEvidence:
        """The box's evidence under a nonce of the asker's.

        Args:
            nonce: 32 bytes.
            peer: the asker's address, as the gateway saw it.

        Raises:
            EvidenceError: the box is not activated or has no lease, or it was asked too often.
            OperationError: from the TPM or the disk.
        """
        renewal, fingerprint = self.renewal, self.board.status.tls_fingerprint
        if renewal is None or fingerprint is None:
            raise EvidenceError(409, "NO_EVIDENCE", "The box is not activated, so nobody vouches for its TPM yet.")
        if not self.limiter.admit(peer, self.steady()):
            raise EvidenceError(429, "RATE_LIMITED", "The box was asked for evidence too often; ask again in a minute.")
        payload = tls_payload(bytes.fromhex(fingerprint.removeprefix("sha256:")))
        with self.tpm_lock, open_provisioned_tpm(self.paths.tcti) as tpm:
            return box_evidence(renewal, tpm, nonce, Purpose.VERIFY, payload)


def box_evidence(renewal: Renewal, tpm: ProvisionedTpm, nonce: bytes, purpose: Purpose, payload: bytes) -> BoxEvidence:
    """Everything by which somebody else believes this box, under a nonce of theirs.

    Raises:
        EvidenceError: the box has no lease.
        OperationError: from the TPM or the disk.
    """
    store, paths = renewal.store, renewal.paths
    certificate, manifest = store.load_device_certificate(), read_file(paths.manifest, MANIFEST_LIMIT)
    number = tpm.lease_number()
    leases = [lease for lease in store.load_leases() if lease.release_id == renewal.release_id]
    proof = next((lease.log for lease in leases if lease.number == number), None)
    if certificate is None or manifest is None or proof is None:
        raise EvidenceError(409, "NO_EVIDENCE", "The box has no lease now, so nobody vouches for its TPM.")
    return BoxEvidence(
        version=1,
        ak_public=renewal.identity.ak_public,
        device_certificate=certificate,
        manifest=manifest,
        variants=read_file(paths.variants, VARIANTS_LIMIT) or b"",
        log=proof,
        evidence=evidence_for(renewal, tpm, nonce, purpose, payload=payload),
    )


def add_customer_evidence(app: FastAPI, evidence: CustomerEvidence) -> None:
    """Add the route. No key is wanted: the question comes before any trust in the box."""

    @app.post("/evidence")
    async def show(asked: PeerChallenge) -> BoxEvidence:
        return await run_in_threadpool(evidence.show, asked.nonce, asked.peer)
