"""Renewal (policies/spec/renewal.md): proof of the lease counter N and of the state, for leases of N + 1.

The decision is prepared on a snapshot and committed only if the store still says the same; so nothing slow happens
while the database is locked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sealwright_licensing import journal
from sealwright_licensing.alarms import raise_alarm
from sealwright_licensing.appraised_logs import keep_denied_logs
from sealwright_licensing.baselines import affirmed, device_baseline, with_baseline
from sealwright_licensing.clock_histories import Finding, find_histories, store_sightings
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.enrollment_identity import require_allowed_tpm
from sealwright_licensing.expiry import Expiry
from sealwright_licensing.firmware import keep_shown_firmware
from sealwright_licensing.grants import GrantedRelease, Grantor
from sealwright_licensing.leases import TICK_INTERVAL_S
from sealwright_licensing.licenses import (
    require_not_held,
    require_release,
    require_tier,
    require_usable,
)
from sealwright_licensing.locks import device_name
from sealwright_licensing.nonces import LIFETIME_S, StatelessNonces
from sealwright_licensing.records import (
    Device,
    RenewalReply,
)
from sealwright_licensing.renewal_basis import Held, given_release, look_up_held, require_known, still_allowed
from sealwright_licensing.renewal_results import Verdict, store_renewal
from sealwright_licensing.store import Store
from sealwright_licensing.stored_releases import stored_release
from sealwright_licensing.stranger_denials import named_claims, record_stranger_denial
from sealwright_licensing.tpm_floor import TpmFloor
from sealwright_policies.appraisal.appraise import appraise
from sealwright_policies.appraisal.clock import ClockReading, DeviceBaseline
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.encoding import pcr_values
from sealwright_policies.wire.messages import CounterNames, Nonce, NonceRequest, Purpose, RenewalRequest

ATTEMPTS = 4
"""How often a decision is made again because another one about the same device came between."""

_CLOCK_CODES = {RejectionCode.CLOCK_WENT_BACK, RejectionCode.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Denial:
    """Why not, and the appraisal if it came to one."""

    error: VerificationError
    result: AttestationResult | None
    finding: Finding | None = None
    """What it says about the device's histories."""

    @property
    def is_by_device(self) -> bool:
        """Whether a quote of the device verified. Device ids and nonces are for everybody: what strangers send must
        neither use up the device's decisions of the day nor push them out of the journal."""
        return self.result is not None and bool(self.result.pcrs)


class RenewalService:
    """Decides about renewals."""

    def __init__(
        self,
        store: Store,
        grantor: Grantor,
        nonces: StatelessNonces,
        floor: TpmFloor,
        decisions: DecisionLimit | None = None,
    ) -> None:
        self._store = store
        self._grantor = grantor
        self._nonces = nonces
        self._floor = floor
        self._decisions = decisions or DecisionLimit()
        self._expiry = Expiry(store)

    def nonce(self, request: NonceRequest, *, now: int) -> Nonce:
        """A nonce for a known device; nothing is stored. Retired ones may still report what they served.

        Raises:
            VerificationError: DEVICE_UNKNOWN.
        """
        with self._store.read_once() as transaction:
            devices = transaction.find(Device, device_id=request.device_id)
        if request.purpose is Purpose.RENEW or not devices:
            require_known(devices)
        nonce = self._nonces.issue(request.device_id, request.purpose, now=now)
        expires_at = self._nonces.verify(nonce, request.device_id, request.purpose, now=now)
        return Nonce(nonce=nonce, expires_at=expires_at)

    def renew(self, request: RenewalRequest, *, now: int, by_file: bool = False) -> bytes:
        """Answer with a Grant, as JSON; a repeated request gets the same bytes until N + 1 is proved.

        (1) device, licence and release are known, (2) the nonce is ours and fresh, (3) evidence is appraised against
        the device's baseline, (4) licence, tier and release are still allowed, (5) a stored reply is repeated, (6) or
        a grant is prepared and (7) committed with the new baseline.

        Args:
            by_file: an older request may come behind a younger one (policies/spec/air-gap.md, 6).

        Raises:
            FormatError, UnsupportedError: the request cannot be read.
            VerificationError: the denial.
            OperationError: the device sends so much at once that no decision gets through.
        """
        try:
            answer = self._answer(request, now=now, by_file=by_file)
        except VerificationError as denial:
            claims = named_claims(request.device_id, request.license_id)
            limit = None if by_file else self._decisions
            record_stranger_denial(self._store, limit, denial, purpose=Purpose.RENEW, claims=claims, now=now)
            raise
        if isinstance(answer, Denial):
            raise answer.error
        return answer

    def _answer(self, request: RenewalRequest, *, now: int, by_file: bool) -> bytes | Denial:
        """The grant, or a denial that is recorded as the device's own.

        Raises:
            VerificationError: a denial of one who has not shown to be the device, or that has asked too often.
        """
        for _ in range(ATTEMPTS):
            held = self.look_up(request)  # (1)
            verdict = self.decide(request, held, now=now, by_file=by_file)
            if isinstance(verdict, RenewalReply):
                return verdict.reply  # (5)
            if isinstance(verdict, Denial) and not verdict.is_by_device:
                raise verdict.error
            self._decisions.count(held.device.device_id, now=now)
            if isinstance(verdict, Denial):
                self._record_denial(request, held, verdict, now=now)
                return verdict
            if self._commit(request, held, verdict, now=now):  # (7)
                return verdict.prepared.reply
        raise OperationError("Another renewal of this device is being decided.", cure="Ask again.")

    def decide(
        self, request: RenewalRequest, held: Held, *, now: int, by_file: bool = False
    ) -> Verdict | RenewalReply | Denial:
        """Decide about a request by what the store held; touches no storage.

        Returns:
            A grant to commit, a stored reply to repeat, or a denial to record.

        Raises:
            FormatError, UnsupportedError: the evidence cannot be read.
        """
        result: AttestationResult | None = None
        nonce_expires_at: int | None = None
        try:
            nonce_expires_at = self._check_nonce(request, held, now=now)  # (2)
            result = _appraise(request, held, now=now)  # (3)
            older = _shows_an_older_state(result) if by_file and held.replies else None
            number = affirmed(result).lease_number if older is None else older.lease_number
            require_allowed_tpm(self._floor, held.device.tpm, result)
            _check_rights(held, now=now)  # (4)
            for reply in held.replies:
                if reply.lease_number == number:
                    return reply
            baseline = affirmed(result)
            _check_next_nonce(held, baseline.lease_number, nonce_expires_at)
            return self._prepare(held, result, baseline, nonce_expires_at, now=now)  # (6)
        except VerificationError as error:
            return _denial(held, error, result, nonce_expires_at, now=now)

    def look_up(self, request: RenewalRequest) -> Held:
        """What the store holds that a decision needs.

        Raises:
            VerificationError: DEVICE_UNKNOWN, LICENSE_UNKNOWN, RELEASE_UNKNOWN.
        """
        with self._store.read_once() as transaction:
            return look_up_held(transaction, request)

    def _check_nonce(self, request: RenewalRequest, held: Held, *, now: int) -> int | None:
        """Accept a nonce of a stored reply, of a lease, or an unused one of ours; returns when the last runs out."""
        if held.replies or held.next_nonce is not None:
            return None
        expires_at = self._nonces.verify(request.nonce, request.device_id, Purpose.RENEW, now=now)
        if held.spent:
            raise VerificationError(RejectionCode.NONCE_INVALID, "the nonce has been used")
        return expires_at

    def _prepare(
        self,
        held: Held,
        result: AttestationResult,
        baseline: DeviceBaseline,
        nonce_expires_at: int | None,
        *,
        now: int,
    ) -> Verdict:
        device = held.device
        # Clock that a power cut took back was running time all the same.
        lost_ticks = math.ceil(result.clock_loss_ms / 1000 / TICK_INTERVAL_S)
        proved = replace(
            with_baseline(device, baseline, now=now),
            charged_ticks=device.charged_ticks + lost_ticks,
            revision=device.revision + 1,
            boot_logs_digest=result.boot_logs_digest,
        )
        unseal = pcr_values(result.unseal_pcrs)
        shares = held.shares if given_release(held, baseline.lease_number).lease_number == baseline.lease_number else ()
        attested = GrantedRelease(held.record, stored_release(held.record), unseal, shares)
        prepared = self._grantor.prepare(
            held.license_,
            proved,
            [attested, *still_allowed(held, unseal)],
            number=proved.lease_number + 1,
            resets=proved.reset_count - device.reset_count,
            elapsed_s=now - device.seen_at,
            now=now,
        )
        return Verdict(result, proved, prepared, nonce_expires_at)

    def _commit(self, request: RenewalRequest, held: Held, verdict: Verdict, *, now: int) -> bool:
        """Store the verdict, unless what it was made from has changed."""
        with self._store.write(device_name(held.device.device_id)) as transaction:
            if look_up_held(transaction, request) != held:
                return False
            store_renewal(transaction, request, held, verdict, now=now)
        self._expiry.prune(now=now)
        return True

    def _record_denial(self, request: RenewalRequest, held: Held, denial: Denial, *, now: int) -> None:
        """Record a denial, and what an operator decides about: histories that contradict each other, changed firmware.

        A device that changed meanwhile is judged anew with its next evidence.
        """
        device, finding = held.device, denial.finding
        with self._store.write(device_name(held.device.device_id)) as transaction:
            decision_id = journal.record_decision(
                transaction,
                device_id=device.device_id,
                license_id=device.license_id,
                purpose=Purpose.RENEW,
                denial=denial.error,
                result=denial.result,
                now=now,
            )
            keep_denied_logs(transaction, device.device_id, decision_id, request.evidence)
            if transaction.get(Device, device.device_id) != device:
                return
            if finding is not None:
                store_sightings(transaction, finding.sightings)
                if finding.device is not None:
                    transaction.put(finding.device)
            if denial.result is not None:
                keep_shown_firmware(transaction, device, denial.result, request.evidence.boot_log, now=now)
        if finding is not None and finding.alarm is not None:
            raise_alarm(finding.alarm, device_id=device.device_id, license_id=device.license_id)


def _denial(
    held: Held, error: VerificationError, result: AttestationResult | None, nonce_expires_at: int | None, *, now: int
) -> Denial:
    if result is None:
        return Denial(error, None)
    made_after = _made_after(held, nonce_expires_at)
    finding = find_histories(held.device, held.sightings, result, error, made_after=made_after, now=now)
    return Denial(finding.error if finding else error, result, finding)


def _made_after(held: Held, nonce_expires_at: int | None) -> bool:
    """Whether the nonce came into the world with the device's baseline or later, and so did what was quoted for it."""
    device = held.device
    if nonce_expires_at is not None:
        return nonce_expires_at - LIFETIME_S >= device.seen_at
    if held.replies or held.next_nonce is None:  # the baseline may be of another evidence for this nonce
        return False
    return held.next_nonce.lease_number > device.lease_number or device.seen_at == device.enrolled_at


def _appraise(request: RenewalRequest, held: Held, *, now: int) -> AttestationResult:
    return appraise(
        request.evidence,
        ak=parse_public(held.device.ak_public),
        nonce=request.nonce,
        device_id=request.device_id,
        license_id=request.license_id,
        release=stored_release(held.record),
        purpose=Purpose.RENEW,
        baseline=device_baseline(held.device),
        counter_names=CounterNames(
            tick=held.device.tick_counter_name.hex(), lease=held.device.lease_counter_name.hex()
        ),
        version_floor=held.license_.version_floor,
        now=now,
    )


def _shows_an_older_state(result: AttestationResult) -> ClockReading | None:
    """The reading of evidence at which nothing is wrong but that it is older than what is held."""
    return result.reading if result.mismatches and set(result.codes) <= _CLOCK_CODES else None


def _check_rights(held: Held, *, now: int) -> None:
    require_usable(held.license_, now=now)
    require_tier(held.license_, Tier(held.device.tier))
    require_release(held.license_, Tier(held.device.tier), held.record, stored_release(held.record).manifest)
    require_not_held(held.device)


def _check_next_nonce(held: Held, lease_number: int, nonce_expires_at: int | None) -> None:
    """A lease's nonce is good for proving that lease's number, and a kept reply's nonce for nothing else."""
    if nonce_expires_at is None and (held.next_nonce is None or held.next_nonce.lease_number != lease_number):
        raise VerificationError(
            RejectionCode.NONCE_INVALID, "the nonce belongs to another lease than the lease counter stands at"
        )
