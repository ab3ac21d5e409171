"""Enrolment (policies/spec/enrollment.md): from an activation code to a device with keys and a lease.

Two calls. The challenge checks who the box says it is and writes one pending enrolment; the proof checks what only the
TPM with that EK and AK could answer, and takes the seat. Nothing is written before the EK's chain is verified.
"""

from __future__ import annotations

from dataclasses import replace

from sealwright_licensing import enrollment_identity, journal
from sealwright_licensing.activation_codes import code_hash
from sealwright_licensing.appraised_logs import keep_logs
from sealwright_licensing.baselines import affirmed, with_baseline
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.endorsement import Endorsement
from sealwright_licensing.enrollment_basis import (
    EnrollmentBasis,
    enrollment_basis,
    known_release,
    license_of_code,
    replaced_device,
)
from sealwright_licensing.enrollment_identity import ClaimedIdentity, require_allowed_tpm
from sealwright_licensing.enrollment_opening import keep_open, new_enrollment
from sealwright_licensing.enrollment_proof import check_secret, verify_storage_key
from sealwright_licensing.enrollment_results import require_lasting, require_own_result, store_result
from sealwright_licensing.expiry import Expiry
from sealwright_licensing.grants import GrantedRelease, Grantor, PreparedGrant
from sealwright_licensing.licenses import require_enrollable, require_release, require_tier
from sealwright_licensing.locks import code_name, device_name, seats_name, tpm_name
from sealwright_licensing.logs import logger
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceStatus,
    EnrollmentReply,
    License,
    PendingEnrollment,
)
from sealwright_licensing.retirement import retire
from sealwright_licensing.seats import devices_of_tpm, overage_seats, require_free_seat
from sealwright_licensing.signed_records import sign_record
from sealwright_licensing.store import Store
from sealwright_licensing.stored_releases import stored_release
from sealwright_licensing.stranger_denials import record_stranger_denial
from sealwright_licensing.tpm_floor import TpmFloor
from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.encoding import pcr_values
from sealwright_policies.wire.messages import (
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Purpose,
)

ATTEMPTS = 4
"""How often a decision is made again because licence, release or charges changed meanwhile."""


class EnrollmentService:
    """Decides about enrolments."""

    def __init__(self, store: Store, grantor: Grantor, floor: TpmFloor, decisions: DecisionLimit | None = None) -> None:
        self._store = store
        self._grantor = grantor
        self._floor = floor
        self._decisions = decisions or DecisionLimit()
        self._expiry = Expiry(store)

    def challenge(self, request: EnrollmentRequest, *, now: int, by_file: bool = False) -> EnrollmentChallenge:
        """Answer the first message.

        (1) keys are of the listed kinds, (2) the code names a usable licence, (3) the EK's chain leads to a root of a
        tier that the licence allows, (4) the release may be used, (5) the TPM has no other live enrolment and a seat
        is free, (6) a credential for that EK and AK is made and the pending enrolment stored.

        Args:
            by_file: it is open for 14 days, and the same request gets the same challenge again.

        Raises:
            FormatError, UnsupportedError: the request cannot be read.
            VerificationError: the denial.
        """
        try:
            claimed = enrollment_identity.read_identity(request)  # (1)
            license_, endorsement = self._admit(request, claimed, now=now)
            challenge, pending = new_enrollment(
                request, claimed, endorsement, license_.license_id, now=now, by_file=by_file
            )
            pending = sign_record(pending, self._grantor.keys.lease_document)
            with self._store.write(code_name(pending.code_hash)) as transaction:
                before = keep_open(transaction, pending, now=now)  # (6)
        except VerificationError as denial:
            claims = f"The request claims to be of device {device_id(request.ek_public)}."
            self._record_stranger(denial, code_hash(request.activation_code), claims, now=now, by_file=by_file)
            raise
        self._expiry.prune(now=now)
        return before or challenge

    def _admit(self, request: EnrollmentRequest, claimed: ClaimedIdentity, *, now: int) -> tuple[License, Endorsement]:
        """Steps (2) to (5) of a challenge."""
        hashed = code_hash(request.activation_code)
        with self._store.read() as transaction:
            license_ = license_of_code(transaction, hashed)  # (2)
            require_enrollable(license_, now=now)
            endorsement = enrollment_identity.verify_identity(transaction, claimed, now=now)  # (3)
            self._floor.require(endorsement.manufacturer, endorsement.model, None)
            require_tier(license_, endorsement.tier)
            record = known_release(transaction, request.release_id)  # (4)
            require_release(license_, endorsement.tier, record, stored_release(record).manifest)
            code = transaction.get(ActivationCodeRecord, hashed)
            if code is not None and code.spent_at is not None:
                require_own_result(transaction, code, claimed.device_id, claimed.ak.area, now=now)
            else:
                same_tpm = devices_of_tpm(transaction, claimed.device_id, claimed.ak.area, claimed.srk.area)
                leaving = replaced_device(transaction, code)
                require_free_seat(transaction, license_, same_tpm, leaving=leaving)  # (5)
        return license_, endorsement

    def _record_stranger(self, denial: VerificationError, hashed: str, claims: str, *, now: int, by_file: bool) -> None:
        with self._store.read() as transaction:
            code = transaction.get(ActivationCodeRecord, hashed)
        license_id = code.license_id if code else ""
        record_stranger_denial(
            self._store,
            None if by_file else self._decisions,
            denial,
            purpose=Purpose.ENROLL,
            license_id=license_id,
            claims=claims,
            now=now,
        )

    def prove(self, proof: EnrollmentProof, *, now: int, by_file: bool = False) -> bytes:
        """Answer the second message with a Grant, as JSON; the same proof gets the same bytes for 14 days.

        (1) the secret is that of the credential, (2) the SRK is a primary of the Owner hierarchy of the AK's TPM,
        (3) licence, tier and release are still allowed, (4) evidence is appraised, (5) a grant is prepared, (6) code,
        seat and device are written in one transaction, in which (3) still holds.

        Raises:
            FormatError, UnsupportedError: the proof cannot be read.
            VerificationError: the denial.
            OperationError: the operator changes so much at once that no decision gets through.
        """
        pending = self._proven(proof, now=now, by_file=by_file)  # (1)
        if isinstance(pending, EnrollmentReply):
            return pending.reply
        result: AttestationResult | None = None
        try:
            verify_storage_key(pending, proof)  # (2)
            for _ in range(ATTEMPTS):
                with self._store.read() as transaction:
                    held = enrollment_basis(transaction, pending, now=now)  # (3)
                result = _appraise(pending, proof, held, now=now)  # (4)
                prepared = self._prepare(pending, held, result, now=now)  # (5)
                reply = self._commit(pending, proof, held, result, prepared, now=now)  # (6)
                if reply is not None:
                    return reply
        except VerificationError as denial:
            self._record_denial(pending, denial, result, now=now, by_file=by_file)
            raise
        raise OperationError("Licence and release are being changed.", cure="Ask again.")

    def _record_denial(
        self,
        pending: PendingEnrollment,
        denial: VerificationError,
        result: AttestationResult | None,
        *,
        now: int,
        by_file: bool,
    ) -> None:
        """Record a denial of a TPM that has proven itself.

        Raises:
            VerificationError: RATE_LIMITED: it has had its decisions of the day.
        """
        try:
            self._decisions.count(pending.device_id, now=now)
        except VerificationError as limited:
            claims = f"The proof is of device {pending.device_id}."
            self._record_stranger(limited, pending.code_hash, claims, now=now, by_file=by_file)
            raise
        with self._store.write(device_name(pending.device_id)) as transaction:
            journal.record_decision(
                transaction,
                device_id=pending.device_id,
                license_id=pending.license_id,
                purpose=Purpose.ENROLL,
                denial=denial,
                result=result,
                now=now,
            )

    def _proven(self, proof: EnrollmentProof, *, now: int, by_file: bool) -> PendingEnrollment | EnrollmentReply:
        """The open enrolment, or the stored result, of which the proof knows the secret.

        Raises:
            VerificationError: ENROLLMENT_EXPIRED, CREDENTIAL_SECRET_MISMATCH, or what a result lacks by now.
        """
        with self._store.read() as transaction:
            stored = transaction.get(EnrollmentReply, proof.enrollment_id)
            pending = transaction.get(PendingEnrollment, proof.enrollment_id)
            try:
                if stored is not None and now <= stored.expires_at:
                    check_secret(proof.secret, stored.secret_hash)
                    require_lasting(transaction, stored, now=now)
                    return stored
                if pending is None or now > pending.expires_at:
                    sentence = "no such enrolment is open; begin again with the activation code"
                    raise VerificationError(RejectionCode.ENROLLMENT_EXPIRED, sentence)
                check_secret(proof.secret, pending.secret_hash)
                return pending
            except VerificationError as error:
                denial = error
        claims = f"The proof is for the enrolment {proof.enrollment_id}."
        self._record_stranger(denial, pending.code_hash if pending else "", claims, now=now, by_file=by_file)
        raise denial

    def _prepare(
        self, pending: PendingEnrollment, held: EnrollmentBasis, result: AttestationResult, *, now: int
    ) -> PreparedGrant:
        baseline = affirmed(result)
        require_allowed_tpm(self._floor, pending.tpm, result)
        device = Device(
            device_id=pending.device_id,
            license_id=pending.license_id,
            status=DeviceStatus.LIVE,
            held_because="",
            tier=pending.tier,
            tpm=pending.tpm,
            ek_certificate=pending.ek_certificate,
            ak_public=pending.ak_public,
            srk_public=pending.srk_public,
            tick_counter_name=result.tick_counter_name,
            lease_counter_name=result.lease_counter_name,
            enrolled_at=now,
            enrollment_id=pending.enrollment_id,
            revision=0,
            first_ticks=baseline.ticks,
            charged_ticks=held.charged_ticks,
            boot_logs_digest=result.boot_logs_digest,
        )
        release = stored_release(held.record)
        granted = GrantedRelease(held.record, release, pcr_values(result.unseal_pcrs), held.shares)
        proved = with_baseline(sign_record(device, self._grantor.keys.lease_document), baseline, now=now)
        return self._grantor.prepare(held.license_, proved, [granted], number=proved.lease_number, now=now)

    def _commit(
        self,
        pending: PendingEnrollment,
        proof: EnrollmentProof,
        held: EnrollmentBasis,
        result: AttestationResult,
        prepared: PreparedGrant,
        *,
        now: int,
    ) -> bytes | None:
        """Store the verdict and return the reply; None if what it was made from has changed."""
        with self._store.write(*_names(pending, held)) as transaction:
            code = transaction.get(ActivationCodeRecord, pending.code_hash)
            if code is None:
                raise VerificationError(RejectionCode.ACTIVATION_CODE_INVALID, "the activation code is gone")
            if enrollment_basis(transaction, pending, now=now) != held:
                return None
            if code.spent_at is not None:
                reply = require_own_result(transaction, code, pending.device_id, pending.ak_public, now=now).reply
                open_ = {"enrollment_id": pending.enrollment_id, "code_hash": pending.code_hash}
                transaction.delete(PendingEnrollment, **open_)
                return reply
            if held.replaced is not None:
                retire(transaction, held.replaced)
            same_tpm = devices_of_tpm(transaction, pending.device_id, pending.ak_public, pending.srk_public)
            taken = require_free_seat(transaction, held.license_, same_tpm)
            transaction.put(replace(code, spent_at=now, enrollment_id=pending.enrollment_id))
            keep_logs(transaction, pending.device_id, proof.evidence, result.boot_logs_digest, before=b"")
            store_result(transaction, pending, proof, result, prepared, now=now)
        if overage_seats(held.license_, taken):
            counted = {"license_id": pending.license_id, "seats": held.license_.seats, "seats_taken": taken}
            logger.warning("overage", extra=counted)
        return prepared.reply


def _names(pending: PendingEnrollment, held: EnrollmentBasis) -> tuple[str, ...]:
    """What an enrolment decides about: the code, a seat, the device, and that its TPM is no other device."""
    return (
        code_name(pending.code_hash),
        seats_name(pending.license_id),
        device_name(pending.device_id),
        tpm_name(pending.ak_public),
        tpm_name(pending.srk_public),
        *([device_name(held.replaces)] if held.replaces else []),
    )


def _appraise(
    pending: PendingEnrollment, proof: EnrollmentProof, held: EnrollmentBasis, *, now: int
) -> AttestationResult:
    return appraise(
        proof.evidence,
        ak=parse_public(pending.ak_public),
        nonce=pending.nonce,
        device_id=pending.device_id,
        license_id=pending.license_id,
        release=stored_release(held.record),
        purpose=Purpose.ENROLL,
        version_floor=held.license_.version_floor,
        now=now,
    )
