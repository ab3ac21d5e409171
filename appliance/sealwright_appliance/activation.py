"""Activation from the gateway's side: claim code and activation code in, one-time secrets out."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.claim import Claim
from sealwright_appliance.enrollment import enroll
from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import UsageError
from sealwright_policies.wire.encoding import Document

FIRST_KEY_NAME = "first"
ACTIVATION_CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){3}")


class OneTimeSecrets(Document):
    """What the customer gets, once."""

    device_id: str
    license_id: str
    api_key: str
    customer_key_pem: str
    """Approves later releases for the state volume."""
    recovery_key: str
    """Opens the state volume on another machine."""


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
    steady: Callable[[], float] = time.monotonic

    def activate(self, claim_code: str, activation_code: str) -> OneTimeSecrets:
        """Check the claim, enrol if that has not happened yet, and hand out the secrets.

        The claim is spent by the caller, after the reply has gone: until then the same codes give the secrets again.

        Raises:
            ClaimError: the claim code is wrong or spent.
            UsageError: the activation code is not of the form of one.
            SealwrightError: from the service, the TPM or the disk.
        """
        code = activation_code.strip().upper()
        with self.tpm_lock:
            claim = self.claim.check(claim_code, self.steady())
            identity = self.store.load_identity()
            if identity is None:
                if not ACTIVATION_CODE.fullmatch(code):
                    raise UsageError("An activation code has four groups of five letters and digits, joined by dashes.")
                identity = enroll(self.paths, self.client, self.store, self.release_id, code).identity
            return OneTimeSecrets(
                device_id=identity.device_id,
                license_id=identity.license_id,
                api_key=self.api_keys.create(FIRST_KEY_NAME, admin=True, replace=True),
                customer_key_pem=claim.customer_key_pem or "",
                recovery_key=claim.recovery_key or "",
            )
