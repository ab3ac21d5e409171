"""A renewal, step by step (policies/spec/renewal.md).

(1) certify N and show the state; (2) keep the leases for N + 1 beside the old ones, on the disk; (3) increment the
counter; (4) at the next proof, of N + 1, delete the old. After a power cut between any two of them a stored lease
opens the box, and the same request gets the same reply from the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from sealwright_appliance.enrollment import check_grant, keep_shares
from sealwright_appliance.lease_store import Identity, LeaseStore
from sealwright_appliance.license_client import DeniedError, LicenseClient
from sealwright_appliance.paths import Paths
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_evidence import collect_evidence, read_boot_logs
from sealwright_appliance.tpm_keys import attestation_key
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.lease import Lease
from sealwright_policies.wire.messages import Evidence, Grant, Purpose, RenewalRequest

Reply = TypeVar("Reply")
ReportPurpose = Literal[Purpose.METERING, Purpose.FLOW]


@dataclass(frozen=True, slots=True)
class Renewal:
    """Everything that a renewal works with."""

    paths: Paths
    client: LicenseClient
    store: LeaseStore
    identity: Identity
    release_id: str


def renew(renewal: Renewal, tpm: ProvisionedTpm) -> Lease | None:
    """The whole renewal. Returns the new lease of the running release, None if the service gives it none.

    Raises:
        DeniedError, ServiceUnreachableError: from the service.
        OperationError: from the TPM or the disk.
        VerificationError: the reply is not for this box.
    """
    grant = request_renewal(renewal, tpm)  # (1)
    leases = keep_grant(renewal, tpm, grant)  # (2)
    advance(tpm)  # (3)
    return next((lease for lease in leases if lease.release_id == renewal.release_id), None)


def request_renewal(renewal: Renewal, tpm: ProvisionedTpm) -> Grant:
    """Step (1); with the nonce of the stored lease, or a fresh one where the service does not take that."""
    stored = next_nonce(renewal.store, tpm.lease_number(), renewal.release_id)
    if stored is not None:
        try:
            return renewal.client.renew(renewal_request(renewal, tpm, stored))
        except DeniedError as error:
            if error.code != RejectionCode.NONCE_INVALID:
                raise
    fresh = renewal.client.nonce(renewal.identity.device_id).nonce
    return renewal.client.renew(renewal_request(renewal, tpm, fresh))


def report_with_nonce(renewal: Renewal, purpose: ReportPurpose, send: Callable[[bytes | None], Reply]) -> Reply:
    """Send a report with the nonce of the stored lease, or a fresh one where the service does not take that.

    Args:
        renewal: of the box that reports.
        purpose: of the report.
        send: makes the report with a nonce, None for that of the stored lease, and sends it.
    """
    try:
        return send(None)
    except DeniedError as error:
        if error.code != RejectionCode.NONCE_INVALID:
            raise
    return send(renewal.client.nonce(renewal.identity.device_id, purpose).nonce)


def next_nonce(store: LeaseStore, number: int, release_id: str) -> bytes | None:
    """The nonce in the stored lease of the present number, rather of the running release; None if there is none."""
    leases = [lease for lease in store.load_leases() if lease.number == number]
    leases.sort(key=lambda lease: lease.release_id != release_id)
    return leases[0].next_nonce if leases else None


def keep_grant(renewal: Renewal, tpm: ProvisionedTpm, grant: Grant) -> list[Lease]:
    """Steps (2) and (4): verify, store beside the old, and drop what the proof of N has made useless."""
    number = tpm.lease_number()
    leases = check_grant(grant, renewal.identity, tpm, renewal.store, number=number + 1)
    keep_shares(tpm, renewal.store, grant)
    renewal.store.store_leases(grant.leases)
    renewal.store.store_device_certificate(grant.device_certificate)
    # The service has just accepted a proof of N: leases below N are of no use to anybody.
    renewal.store.delete_leases_below(number)
    return leases


def advance(tpm: ProvisionedTpm) -> None:
    """Step (3): the leases of N end here."""
    increment_counter(tpm.device, tpm.counters.lease)


def renewal_request(renewal: Renewal, tpm: ProvisionedTpm, nonce: bytes, *, payload: bytes = b"") -> RenewalRequest:
    """Proof of N and of the state under a nonce; ``payload`` is what the quote speaks for besides."""
    identity = renewal.identity
    return RenewalRequest(
        device_id=identity.device_id,
        license_id=identity.license_id,
        release_id=renewal.release_id,
        nonce=nonce,
        evidence=evidence_for(renewal, tpm, nonce, Purpose.RENEW, payload=payload),
    )


def evidence_for(
    renewal: Renewal, tpm: ProvisionedTpm, nonce: bytes, purpose: Purpose, *, payload: bytes = b""
) -> Evidence:
    """The box's evidence under a nonce, good for one purpose and, if there is one, for one payload."""
    identity = renewal.identity
    bound = qualifying_data(
        nonce=nonce,
        device_id=identity.device_id,
        license_id=identity.license_id,
        release_id=renewal.release_id,
        purpose=purpose,
        payload=payload,
    )
    paths = renewal.paths
    with attestation_key(tpm.device) as ak:
        return collect_evidence(
            tpm.device,
            ak,
            tpm.counters,
            lambda: read_boot_logs(paths.firmware_log, paths.userspace_log),
            bound,
            payload=payload,
        )
