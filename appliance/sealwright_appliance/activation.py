"""Activation from the gateway's side: claim code and activation code in, the customer's secrets out.

The handover has two steps, so that nothing is lost with a reply: the secrets are handed out, as often as the claim
code is shown; then the customer acknowledges them, and they are erased. Power may fail between any two lines here.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.attempt_limiter import AttemptLimiter
from sealwright_appliance.claim import Claim, ClaimError, OpenClaim
from sealwright_appliance.claim_counter import settle_claim
from sealwright_appliance.enrollment import EnrollmentStep, enroll
from sealwright_appliance.handover import Handover
from sealwright_appliance.lease_store import Identity, LeaseStore
from sealwright_appliance.license_client import Cause, LicenseClient, ServiceUnreachableError
from sealwright_appliance.paths import Paths
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.errors import OperationError, SealwrightError, UsageError
from sealwright_policies.wire.encoding import Document

FIRST_KEY_NAME = "first"
ACTIVATION_CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){3}")


class CustomerSecrets(Document):
    """What the customer gets, until it is acknowledged."""

    device_id: str
    license_id: str
    api_key: str
    customer_key_pem: str
    """Approves later releases for the state volume."""
    recovery_key: str
    """Opens the state volume on another machine."""


class ActivationProgress(Document):
    """``GET /activation/progress``: how far the last activation over the network has come. No secret."""

    step: EnrollmentStep | None
    """None: none has begun."""
    cause: Cause | None
    """Why the service was not reached."""


@dataclass
class Activation:
    """One at a time."""

    paths: Paths
    client: LicenseClient
    store: LeaseStore
    claim: Claim
    api_keys: ApiKeys
    release_id: str
    tpm_lock: threading.Lock
    handover: Handover
    limiter: AttemptLimiter = field(default_factory=AttemptLimiter)
    steady: Callable[[], float] = time.monotonic
    progress: ActivationProgress = field(default_factory=lambda: ActivationProgress(step=None, cause=None))
    one: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever enrols or erases."""

    def activate(self, claim_code: str, activation_code: str, peer: str) -> CustomerSecrets:
        """Check the claim, enrol if that has not happened yet, and hand out the secrets.

        Args:
            activation_code: not needed once the box is activated.
            peer: address of who asks.

        Raises:
            ClaimError: the claim code is wrong or spent, or too many were tried.
            UsageError: the activation code is not of the form of one.
            SealwrightError: from the service, the TPM or the disk.
        """
        return self.hand_out(claim_code, peer, lambda: self._enroll(activation_code))

    def hand_out(self, claim_code: str, peer: str, enroll: Callable[[], Identity]) -> CustomerSecrets:
        """Check the claim, have the box enrolled if that has not happened yet, and hand out the secrets.

        Raises:
            ClaimError: as for :meth:`activate`.
            SealwrightError: from ``enroll``, or the disk.
        """
        self.opened(claim_code, peer)
        with self.one:
            claim = self.claim.opened_with(claim_code)  # it may have been spent meanwhile
            identity = self.store.load_identity() or enroll()
            self.api_keys.ensure(FIRST_KEY_NAME, claim.api_key, admin=True)
            self.handover.begin()
        return CustomerSecrets(
            device_id=identity.device_id,
            license_id=identity.license_id,
            api_key=claim.api_key,
            customer_key_pem=claim.customer_key_pem,
            recovery_key=claim.recovery_key,
        )

    def acknowledge(self, claim_code: str, peer: str) -> None:
        """The customer has the secrets: erase them.

        Raises:
            ClaimError: as for :meth:`activate`, or nothing has been handed out yet.
        """
        self.opened(claim_code, peer)
        with self.one:
            if not self.api_keys.holds(FIRST_KEY_NAME):
                raise ClaimError(409, "NOT_HANDED_OUT", "The secrets have not been handed out yet.")
            self.claim.spend()
            self.handover.acknowledged()

    def settle(self) -> None:
        """Behind the reply to :meth:`acknowledge`, which must not wait for a renewal that has the TPM.

        From here on no copy of the disk brings the secrets back. A TPM that fails is asked again at the next boot.
        """
        with suppress(OperationError), self.tpm_lock, open_provisioned_tpm(self.paths.tcti) as tpm:
            settle_claim(tpm, self.claim, self.paths.claim_counter)
        self.handover.end()

    def resume(self) -> None:
        """Go on where an earlier agent was: in this boot, or in the one in which the box was activated."""
        try:
            is_activated = self.store.load_identity() is not None
        except SealwrightError:  # the agent says so, which cannot renew with it either
            return
        if is_activated:
            self.handover.begin(waiting=self._secrets_wait())

    def _secrets_wait(self) -> bool:
        """Whether a claim is there to be used; one that cannot be read is no reason not to serve."""
        try:
            return self.claim.code() is not None
        except SealwrightError as error:
            self.handover.board.say(f"claim: {error} The box goes on; nobody can claim it.")
            return False

    def opened(self, claim_code: str, peer: str) -> OpenClaim:
        """The claim, before anything is waited for: guesses must not queue up behind an enrolment.

        Raises:
            ClaimError: as for :meth:`activate`.
        """
        if not self.limiter.admit(peer, self.steady()):
            raise ClaimError(429, "RATE_LIMITED", "Too many claim codes were tried; wait a minute.")
        claim = self.claim.opened_with(claim_code)
        self.limiter.regain(peer)
        return claim

    def _enroll(self, activation_code: str) -> Identity:
        code = activation_code_of(activation_code)
        try:
            with self.tpm_lock:
                return enroll(self.paths, self.client, self.store, self.release_id, code, tell=self._reached).identity
        except ServiceUnreachableError as error:
            self.progress = self.progress.model_copy(update={"cause": error.cause})
            raise

    def _reached(self, step: EnrollmentStep) -> None:
        self.progress = ActivationProgress(step=step, cause=None)


def activation_code_of(typed: str) -> str:
    """An activation code as a person typed it.

    Raises:
        UsageError: it is not of the form of one.
    """
    code = typed.strip().upper()
    if not ACTIVATION_CODE.fullmatch(code):
        raise UsageError("An activation code has four groups of five letters and digits, joined by dashes.")
    return code
