"""Enrolment (policies/spec/enrollment.md): from an activation code to a device with keys and a lease.

Two calls. The challenge checks who the box says it is and writes one pending enrolment; the proof checks what only the
TPM with that EK and AK could answer, and takes the seat. Nothing is written before the EK's chain is verified.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace

from sealwright_licensing import enrollment_identity, journal
from sealwright_licensing.activation_codes import code_hash
from sealwright_licensing.appraised_logs import keep_logs
from sealwright_licensing.baselines import affirmed, pcrs_json, with_baseline
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.endorsement import Endorsement, Tier
from sealwright_licensing.enrollment_identity import ClaimedIdentity, require_allowed_tpm
from sealwright_licensing.enrollment_proof import check_secret, verify_storage_key
from sealwright_licensing.enrollment_results import REPLY_KEPT_S, require_lasting, require_own_result
from sealwright_licensing.expiry import Expiry
from sealwright_licensing.firmware import firmware_events
from sealwright_licensing.grants import GrantedRelease, Grantor, PreparedGrant
from sealwright_licensing.licenses import require_enrollable, require_release, require_tier
from sealwright_licensing.locks import code_name, device_name, seats_name, tpm_name
from sealwright_licensing.logs import logger
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceFirmware,
    DeviceRelease,
    DeviceStatus,
    EnrollmentReply,
    License,
    PendingEnrollment,
    ReleaseRecord,
    ReleaseShares,
    TickLedger,
)
from sealwright_licensing.retirement import retire, used_ticks
from sealwright_licensing.seats import charged_before, devices_of_tpm, overage_seats, require_free_seat
from sealwright_licensing.signed_records import sign_record
from sealwright_licensing.store import Store, Transaction
from sealwright_licensing.stored_releases import stored_release
from sealwright_licensing.stranger_denials import record_stranger_denial
from sealwright_licensing.tpm_floor import TpmFloor
from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.tcg.credential import make_credential
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.encoding import document_bytes, parse_json, pcr_values
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Purpose,
)

PENDING_S = 600
"""Online."""
PENDING_BY_FILE_S = 14 * 86_400
MOST_PENDING_PER_CODE = 8
ATTEMPTS = 4
"""How often a decision is made again because licence, release or charges changed meanwhile."""
SECRET_SIZE = NONCE_SIZE = 32


@dataclass(frozen=True, slots=True)
class _Held:
    """What the store knows that the decision about a proof hangs on."""

    license_: License
    record: ReleaseRecord
    shares: tuple[ReleaseShares, ...]
    charged_ticks: int
    """Ticks that earlier enrolments of this TPM, or the device that it replaces, have used up."""
    replaces: str
    """Id of the device whose place this one takes, or empty."""
    replaced: Device | None
    """That device while it is live."""


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
            return self._open(request, claimed, endorsement, license_, now=now, by_file=by_file)  # (6)
        except VerificationError as denial:
            claims = f"The request claims to be of device {device_id(request.ek_public)}."
            self._record_stranger(denial, code_hash(request.activation_code), claims, now=now, by_file=by_file)
            raise

    def _admit(self, request: EnrollmentRequest, claimed: ClaimedIdentity, *, now: int) -> tuple[License, Endorsement]:
        """Steps (2) to (5) of a challenge."""
        hashed = code_hash(request.activation_code)
        with self._store.read() as transaction:
            license_ = _license_of_code(transaction, hashed)  # (2)
            require_enrollable(license_, now=now)
            endorsement = enrollment_identity.verify_identity(transaction, claimed, now=now)  # (3)
            self._floor.require(endorsement.manufacturer, endorsement.model, None)
            require_tier(license_, endorsement.tier)
            record = _release(transaction, request.release_id)  # (4)
            require_release(license_, record, stored_release(record).manifest)
            code = transaction.get(ActivationCodeRecord, hashed)
            if code is not None and code.spent_at is not None:
                require_own_result(transaction, code, claimed.device_id, claimed.ak.area, now=now)
            else:
                same_tpm = devices_of_tpm(transaction, claimed.device_id, claimed.ak.area, claimed.srk.area)
                leaving = _replaced(transaction, code)
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

    def _open(
        self,
        request: EnrollmentRequest,
        claimed: ClaimedIdentity,
        endorsement: Endorsement,
        license_: License,
        *,
        now: int,
        by_file: bool,
    ) -> EnrollmentChallenge:
        secret, nonce = secrets.token_bytes(SECRET_SIZE), secrets.token_bytes(NONCE_SIZE)
        credential_blob, encrypted_secret = make_credential(claimed.ek, secret, claimed.ak.name)
        challenge = EnrollmentChallenge(
            enrollment_id=secrets.token_hex(16),
            device_id=claimed.device_id,
            license_id=license_.license_id,
            credential_blob=credential_blob,
            encrypted_secret=encrypted_secret,
            nonce=nonce,
            expires_at=now + (PENDING_BY_FILE_S if by_file else PENDING_S),
        )
        pending = PendingEnrollment(
            enrollment_id=challenge.enrollment_id,
            device_id=claimed.device_id,
            license_id=license_.license_id,
            code_hash=code_hash(request.activation_code),
            release_id=request.release_id,
            tier=endorsement.tier.value,
            tpm=enrollment_identity.describe_tpm(endorsement),
            ek_certificate=endorsement.certificate.encoded,
            ek_public=claimed.ek.area,
            ak_public=claimed.ak.area,
            srk_public=claimed.srk.area,
            secret_hash=hashlib.sha256(secret).digest(),
            nonce=nonce,
            expires_at=challenge.expires_at,
            challenge=document_bytes(challenge) if by_file else b"",
        )
        pending = sign_record(pending, self._grantor.keys.lease_document)
        with self._store.write(code_name(pending.code_hash)) as transaction:
            transaction.delete_below(PendingEnrollment, "expires_at", now, code_hash=pending.code_hash)
            found = transaction.find(PendingEnrollment, code_hash=pending.code_hash)
            for open_one in found:
                if by_file and _is_same_request(open_one, pending):
                    return parse_json(EnrollmentChallenge, open_one.challenge, limit=MESSAGE_LIMIT)
            if len(found) >= MOST_PENDING_PER_CODE:
                raise VerificationError(
                    RejectionCode.RATE_LIMITED,
                    "too many enrolments with this activation code are open; "
                    "each ends after 10 minutes, by file after 14 days",
                )
            transaction.add(pending)
        self._expiry.prune(now=now)
        return challenge

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
                    held = _look_up(transaction, pending, now=now)  # (3)
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
        self, pending: PendingEnrollment, held: _Held, result: AttestationResult, *, now: int
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
        held: _Held,
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
            if _look_up(transaction, pending, now=now) != held:
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
            _store_enrollment(transaction, pending, proof, result, prepared, now=now)
        if overage_seats(held.license_, taken):
            counted = {"license_id": pending.license_id, "seats": held.license_.seats, "seats_taken": taken}
            logger.warning("overage", extra=counted)
        return prepared.reply


def _names(pending: PendingEnrollment, held: _Held) -> tuple[str, ...]:
    """What an enrolment decides about: the code, a seat, the device, and that its TPM is no other device."""
    return (
        code_name(pending.code_hash),
        seats_name(pending.license_id),
        device_name(pending.device_id),
        tpm_name(pending.ak_public),
        tpm_name(pending.srk_public),
        *([device_name(held.replaces)] if held.replaces else []),
    )


def _is_same_request(held: PendingEnrollment, asked: PendingEnrollment) -> bool:
    """Whether a challenge that travels by file was made for the same keys, licence and release."""
    names = ("device_id", "license_id", "code_hash", "release_id", "ek_public", "ak_public", "srk_public")
    return bool(held.challenge) and all(getattr(held, name) == getattr(asked, name) for name in names)


def _license_of_code(transaction: Transaction, hashed: str) -> License:
    code = transaction.get(ActivationCodeRecord, hashed)
    license_ = transaction.get(License, code.license_id) if code else None
    if license_ is None:
        raise VerificationError(RejectionCode.ACTIVATION_CODE_INVALID, "no licence has this activation code")
    return license_


def _release(transaction: Transaction, release_id: str) -> ReleaseRecord:
    record = transaction.get(ReleaseRecord, release_id)
    if record is None:
        raise VerificationError(
            RejectionCode.RELEASE_UNKNOWN, f"release {release_id[:16]} has not been imported into this service"
        )
    return record


def _look_up(transaction: Transaction, pending: PendingEnrollment, *, now: int) -> _Held:
    license_ = transaction.get(License, pending.license_id)
    if license_ is None:
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, "the licence is gone")
    require_enrollable(license_, now=now)
    require_tier(license_, Tier(pending.tier))
    code = transaction.get(ActivationCodeRecord, pending.code_hash)
    record = _release(transaction, pending.release_id)
    require_release(license_, record, stored_release(record).manifest)
    return _Held(
        license_=license_,
        record=record,
        shares=tuple(transaction.find(ReleaseShares, release_id=record.release_id)),
        charged_ticks=max(charged_before(transaction, pending), _charged_to(transaction, code)),
        replaces=code.replaces if code else "",
        replaced=_replaced(transaction, code),
    )


def _replaced(transaction: Transaction, code: ActivationCodeRecord | None) -> Device | None:
    """The device that is retired when a code is spent, unless it is already, or has been enrolled anew since."""
    if code is None or not code.replaces or code.spent_at is not None:
        return None
    device = transaction.get(Device, code.replaces)
    if device is None or device.status is DeviceStatus.RETIRED or device.license_id != code.license_id:
        return None
    return device if device.enrolled_at <= code.created_at else None


def _charged_to(transaction: Transaction, code: ActivationCodeRecord | None) -> int:
    """Ticks that the device which a code replaces has used up, its outstanding lease included."""
    if code is None or not code.replaces:
        return 0
    live = _replaced(transaction, code)
    if live is not None:
        return used_ticks(live)
    ledger = transaction.get(TickLedger, code.license_id, code.replaces)
    return ledger.charged_ticks if ledger else 0


def _appraise(pending: PendingEnrollment, proof: EnrollmentProof, held: _Held, *, now: int) -> AttestationResult:
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


def _store_enrollment(
    transaction: Transaction,
    pending: PendingEnrollment,
    proof: EnrollmentProof,
    result: AttestationResult,
    prepared: PreparedGrant,
    *,
    now: int,
) -> None:
    prepared.store(transaction)
    transaction.put(DeviceFirmware(pending.device_id, firmware_events(proof.evidence.boot_log)))
    transaction.add(
        EnrollmentReply(
            enrollment_id=pending.enrollment_id,
            device_id=pending.device_id,
            ak_public=pending.ak_public,
            secret_hash=pending.secret_hash,
            reply=prepared.reply,
            expires_at=now + REPLY_KEPT_S,
        )
    )
    transaction.delete(PendingEnrollment, code_hash=pending.code_hash)
    unseal, opened = pcrs_json(result.unseal_pcrs), prepared.partitions(pending.release_id)
    transaction.put(DeviceRelease(pending.device_id, pending.release_id, unseal, now, 0, opened))
    journal.record_decision(
        transaction,
        device_id=pending.device_id,
        license_id=pending.license_id,
        purpose=Purpose.ENROLL,
        denial=None,
        result=result,
        now=now,
    )
