"""Requests that come as files or QR codes, answered with signed files (policies/spec/air-gap.md).

The decisions are those of :mod:`.enrollment` and :mod:`.renewal`. Who calls this has shown that he is an operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_licensing.appraised_logs import kept_logs
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.keys import SigningKeys
from sealwright_licensing.records import ReleaseRecord
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.store import Store
from sealwright_licensing.stored_releases import stored_release
from sealwright_licensing.stranger_denials import named_claims, record_stranger_denial
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.air_gap import (
    ChallengeReply,
    CompactRenewal,
    EnrollmentFile,
    EnrollmentReply,
    FileReply,
    ProofFile,
    RenewalFile,
    RenewalReply,
    parse_request,
    request_digest,
    sign_reply,
)
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.lease import read_unverified_lease
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    Purpose,
    RenewalRequest,
)


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A reply file, and what it is about."""

    kind: str
    """``challenge``, ``enrollment`` or ``renewal``."""
    device_id: str
    license_id: str
    reply: str
    """The file's text; the same request gets the same one again, as long as the service would repeat its answer."""


class AirGapService:
    """Answers one request after the other, of any boxes in any order."""

    def __init__(self, store: Store, enrollment: EnrollmentService, renewal: RenewalService, keys: SigningKeys) -> None:
        self._store = store
        self._enrollment = enrollment
        self._renewal = renewal
        self._keys = keys

    def answer(self, content: bytes, *, now: int) -> FileAnswer:
        """Answer a request file, or the text of a QR code.

        Raises:
            FormatError, UnsupportedError: the request cannot be read.
            VerificationError: the denial; LOGS_REQUIRED if a QR code is not enough.
            OperationError: no decision gets through.
        """
        request = parse_request(content)
        match request:
            case CompactRenewal():
                return self._renew(self._with_logs(request, now=now), now=now)
            case RenewalFile():
                return self._renew(request.request, now=now)
            case EnrollmentFile():
                return self._challenge(request.request, now=now)
            case ProofFile():
                return self._prove(request.request, now=now)

    def _with_logs(self, request: CompactRenewal, *, now: int) -> RenewalRequest:
        try:
            with self._store.read() as transaction:
                logs = kept_logs(transaction, request.device_id, request.logs_digest)
        except VerificationError as denial:
            claims = named_claims(request.device_id, request.license_id)
            record_stranger_denial(self._store, None, denial, purpose=Purpose.RENEW, claims=claims, now=now)
            raise
        return request.with_logs(*logs)

    def _renew(self, request: RenewalRequest, *, now: int) -> FileAnswer:
        try:
            reply = self._renewal.renew(request, now=now, by_file=True)
        except VerificationError as denial:
            if denial.code is not RejectionCode.NONCE_INVALID:
                raise
            raise VerificationError(
                denial.code, "the box has renewed since it made this request: make a new one at the box"
            ) from denial
        grant = parse_json(Grant, reply, limit=MESSAGE_LIMIT)
        document = RenewalReply(version=1, kind="renewal", device_id=grant.device_id, nonce=request.nonce, grant=grant)
        return self._signed(document, grant.license_id, request.release_id)

    def _challenge(self, request: EnrollmentRequest, *, now: int) -> FileAnswer:
        challenge = self._enrollment.challenge(request, now=now, by_file=True)
        document = ChallengeReply(
            version=1,
            kind="challenge",
            device_id=challenge.device_id,
            answers=request_digest(request),
            challenge=challenge,
        )
        return self._signed(document, challenge.license_id, request.release_id)

    def _prove(self, proof: EnrollmentProof, *, now: int) -> FileAnswer:
        grant = parse_json(Grant, self._enrollment.prove(proof, now=now, by_file=True), limit=MESSAGE_LIMIT)
        document = EnrollmentReply(
            version=1, kind="enrollment", device_id=grant.device_id, enrollment_id=proof.enrollment_id, grant=grant
        )
        return self._signed(document, grant.license_id, read_unverified_lease(grant.leases[0]).release_id)

    def _signed(self, document: FileReply, license_id: str, release_id: str) -> FileAnswer:
        """By the key that the image of the release knows; the release was found when the request was decided."""
        with self._store.read() as transaction:
            record = transaction.get(ReleaseRecord, release_id)
        if record is None:
            raise VerificationError(RejectionCode.RELEASE_UNKNOWN, f"release {release_id[:16]} is not known any more")
        known = self._keys.of(stored_release(record).manifest)
        token = sign_reply(document, known.lease_document)
        return FileAnswer(document.kind, document.device_id, license_id, token)
