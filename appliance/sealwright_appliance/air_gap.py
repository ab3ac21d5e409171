"""Renewal and activation of a box without a network (policies/spec/air-gap.md).

Requests leave as documents, signed replies come back; what is done with a grant is :mod:`.renewal` and
:mod:`.enrollment`, as online. Power may fail between any two lines: the same file can be given again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_appliance.activation import Activation, CustomerSecrets, activation_code_of
from sealwright_appliance.enrollment import answer_challenge, enrollment_request, keep_enrollment
from sealwright_appliance.lease_keeper import LeaseKeeper
from sealwright_appliance.lease_store import Identity, LeaseStore
from sealwright_appliance.pending_requests import PendingRequests
from sealwright_appliance.renewal import Renewal, advance, keep_grant, next_nonce, renewal_request
from sealwright_appliance.tpm_evidence import read_boot_logs
from sealwright_appliance.tpm_keys import endorsement_key
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_policies.appraisal.boot_logs import digest_of_logs
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.wire.air_gap import (
    ChallengeReply,
    EnrollmentReply,
    FileReply,
    RenewalReply,
    request_digest,
    verify_reply,
)
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.encoding import Document
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import EnrollmentProof, EnrollmentRequest, RenewalRequest

MEASURINGS = 3
"""How often a request is made again because something was measured meanwhile."""


class AirGapError(SealwrightError):
    """A file that does not fit, or a request that cannot be made now."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class RenewalOutcome(Document):
    """What a reply has come to."""

    taken_up: bool
    """False where it had been taken up before: nothing was changed."""
    number: int
    """N of the leases."""
    expires_at: int | None
    """Of the running release's; None where the service gives it no lease any more."""


@dataclass(frozen=True, slots=True)
class RenewalByFile:
    """Requests and replies of an activated box."""

    keeper: LeaseKeeper
    pending: PendingRequests

    def request(self) -> RenewalRequest:
        """A request by the stored lease's nonce; its payload is the digest of the boot logs.

        Raises:
            AirGapError: the box is not activated, or has no lease of its present number.
            OperationError: from the TPM or the disk.
        """
        renewal = self._renewal()
        with self.keeper.tpm_lock, open_provisioned_tpm(self.keeper.tcti) as tpm:
            number = tpm.lease_number()
            nonce = next_nonce(renewal.store, number, renewal.release_id)
            if nonce is None:
                raise AirGapError(
                    409,
                    "NO_NONCE",
                    f"The box has no lease of number {number} to renew by; connect it to the service.",
                )
            self.pending.keep_renewal(nonce)
            return _measured_request(renewal, tpm, nonce)

    def reply(self, token: str) -> RenewalOutcome:
        """Take up a reply: verify, store and fsync beside the old, increment, say so, and forget the request.

        Raises:
            AirGapError: it is for another box or request, or an older one.
            FormatError, VerificationError: it is not the service's, or its leases are not for this box.
            OperationError: from the TPM or the disk.
        """
        renewal = self._renewal()
        reply = verify_reply(token, renewal.store.service)
        if not isinstance(reply, RenewalReply):
            raise _other_kind(reply)
        require_own(reply, renewal.identity.device_id)
        leases = [verify_lease(lease, renewal.store.service) for lease in reply.grant.leases]
        with self.keeper.tpm_lock, open_provisioned_tpm(self.keeper.tcti) as tpm:
            pending = self.pending.renewal()
            awaited = pending is not None and pending.nonce == reply.nonce.hex()
            number = tpm.lease_number()
            taken_up = not self._is_stored(renewal, leases, number)
            if taken_up:
                require_next(leases, number)
                if not awaited:
                    raise not_awaited()
                keep_grant(renewal, tpm, reply.grant)
                advance(tpm)
        own = next((lease for lease in leases if lease.release_id == renewal.release_id), None)
        if awaited:  # also where a power cut came between the last two lines
            self.keeper.renewed(own)
            self.pending.forget_renewal()
        return RenewalOutcome(
            taken_up=taken_up, number=leases[0].number, expires_at=own.expires_at if own is not None else None
        )

    def _renewal(self) -> Renewal:
        if self.keeper.renewal is None:
            raise AirGapError(409, "NOT_ACTIVATED", "The box is not activated, so there is nothing to renew.")
        return self.keeper.renewal

    def _is_stored(self, renewal: Renewal, leases: list[Lease], number: int) -> bool:
        """Whether the box runs by these very leases."""
        return all(lease.number == number for lease in leases) and {lease.lease_id for lease in leases} <= {
            held.lease_id for held in renewal.store.load_leases()
        }


def require_next(leases: list[Lease], number: int) -> None:
    """Demand that leases are for the number behind the present one.

    Raises:
        AirGapError: they are of the past, or of a box that went on elsewhere.
    """
    shown = {lease.number for lease in leases}
    if shown == {number + 1}:
        return
    if max(shown) <= number:
        raise AirGapError(
            409,
            "REPLY_OUTDATED",
            f"This reply is to an older request: it holds leases of number {max(shown)}, and the box is at {number}.",
        )
    raise AirGapError(
        409, "REPLY_NOT_AWAITED", f"This reply holds leases of number {max(shown)}, and the box is at {number}."
    )


def require_own(reply: FileReply, own_id: str) -> None:
    """Demand that a reply is for this box.

    Raises:
        AirGapError: it is another's.
    """
    if reply.device_id != own_id:
        raise AirGapError(409, "OTHER_DEVICE", f"This reply is for the box {reply.device_id}; this one is {own_id}.")


def not_awaited() -> AirGapError:
    """The reply is this box's, and not to what it asked last."""
    return AirGapError(
        409, "REPLY_NOT_AWAITED", "This reply is not to the last request that this box made; bring the reply to that."
    )


def _other_kind(reply: FileReply) -> AirGapError:
    answered = {"renewal": "a renewal", "challenge": "the first file of an activation"}
    what = answered.get(reply.kind, "the second file of an activation")
    return AirGapError(409, "OTHER_REPLY", f"This is the reply to {what}, which does not belong here.")


def _measured_request(renewal: Renewal, tpm: ProvisionedTpm, nonce: bytes) -> RenewalRequest:
    """A request whose payload is the digest of the very logs in it."""
    paths = renewal.paths
    for _ in range(MEASURINGS):
        logs = read_boot_logs(paths.firmware_log, paths.userspace_log)
        payload = digest_of_logs(logs.firmware, logs.userspace)
        request = renewal_request(renewal, tpm, nonce, payload=payload)
        if digest_of_logs(request.evidence.boot_log, request.evidence.userspace_log) == payload:
            return request
    raise OperationError("Something is being measured all the time.", cure="Ask again in a minute.")


@dataclass(frozen=True, slots=True)
class ActivationByFile:
    """The two round trips of a first activation. Every step wants the claim code."""

    activation: Activation
    pending: PendingRequests

    def request(self, claim_code: str, activation_code: str, peer: str) -> EnrollmentRequest:
        """The first file. It holds the activation code.

        Raises:
            ClaimError: the claim code is wrong or spent, or too many were tried.
            UsageError: the activation code is not of the form of one.
            AirGapError: the box is activated.
            OperationError: from the TPM or the disk.
        """
        self.activation.opened(claim_code, peer)
        code = activation_code_of(activation_code)
        with self.activation.one, self.activation.tpm_lock:
            self._require_not_activated()
            with open_provisioned_tpm(self.activation.paths.tcti) as tpm:
                request = enrollment_request(tpm, endorsement_key(tpm.device), self.activation.release_id, code)
            digest = request_digest(request)
            held = self.pending.activation()
            if held is None or held.request != digest:
                self.pending.keep_activation(digest, None)
        return request

    def proof(self, claim_code: str, token: str, peer: str) -> EnrollmentProof:
        """The second file, for the reply to the first.

        Raises:
            ClaimError: as for :meth:`request`.
            AirGapError: the reply is for another box or request, or the box is activated.
            FormatError, VerificationError: it is not the service's.
            OperationError: from the TPM or the disk; the TPM opens no other TPM's credential.
        """
        self.activation.opened(claim_code, peer)
        reply = verify_reply(token, self.activation.store.service)
        if not isinstance(reply, ChallengeReply):
            raise _other_kind(reply)
        with self.activation.one, self.activation.tpm_lock:
            self._require_not_activated()
            with open_provisioned_tpm(self.activation.paths.tcti) as tpm:
                ek = endorsement_key(tpm.device)
                require_own(reply, device_id(ek.public.area))
                held = self.pending.activation()
                if held is None or held.request != reply.answers:
                    raise not_awaited()
                self.pending.keep_activation(held.request, reply.challenge)
                return answer_challenge(self.activation.paths, tpm, ek, reply.challenge, self.activation.release_id)

    def reply(self, claim_code: str, token: str, peer: str) -> CustomerSecrets:
        """Take up the reply to the second file, and hand out the secrets as an activation online does.

        Raises:
            ClaimError: as for :meth:`request`.
            AirGapError: the reply is for another box or request.
            FormatError, VerificationError: it is not the service's, or its grant is not for this box.
            OperationError: from the TPM or the disk.
        """
        return self.activation.hand_out(claim_code, peer, lambda: self._keep(token))

    def _keep(self, token: str) -> Identity:
        reply = verify_reply(token, self.activation.store.service)
        if not isinstance(reply, EnrollmentReply):
            raise _other_kind(reply)
        with self.activation.tpm_lock, open_provisioned_tpm(self.activation.paths.tcti) as tpm:
            ek = endorsement_key(tpm.device)
            require_own(reply, device_id(ek.public.area))
            held = self.pending.activation()
            challenge = held.challenge if held is not None else None
            if challenge is None or challenge.enrollment_id != reply.enrollment_id:
                raise not_awaited()
            identity = keep_enrollment(tpm, ek, self.activation.store, challenge.license_id, reply.grant)
        self.pending.forget_activation()
        return identity

    def _require_not_activated(self) -> None:
        store: LeaseStore = self.activation.store
        if store.load_identity() is not None:
            raise AirGapError(409, "ALREADY_ACTIVATED", "The box is activated; its secrets can be fetched.")
