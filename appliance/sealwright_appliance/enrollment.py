"""Activation: enrols the box with the licence service and keeps what it grants (policies/spec/enrollment.md).

What arrives is verified before it is stored, and the identity is written last: until then the box is not activated
and the same steps may be done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sealwright_appliance.lease_store import Identity, ImportedShare, LeaseStore, StoredShares
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.paths import Paths
from sealwright_appliance.tpm_evidence import certify_storage_key, collect_evidence, read_boot_logs
from sealwright_appliance.tpm_keys import EndorsementKey, activate_credential, attestation_key, endorsement_key
from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_appliance.tpm_unseal import import_sealed
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.lease import Lease
from sealwright_policies.wire.messages import (
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    PartitionShares,
    Purpose,
    ReleaseApproval,
)


class EnrollmentStep(StrEnum):
    """What is under way."""

    ENROLLING = "enrolling"
    """The service is called, and says what the TPM is to prove."""
    APPRAISING = "appraising"
    """The TPM proves it, and the service appraises."""
    KEEPING = "keeping"
    """Shares and leases are stored."""
    RESTARTING = "restarting"
    """All of it is there."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a box is after its enrolment."""

    identity: Identity
    grant: Grant


def enroll(
    paths: Paths,
    client: LicenseClient,
    store: LeaseStore,
    release_id: str,
    activation_code: str,
    *,
    tell: Callable[[EnrollmentStep], None] = lambda _: None,
) -> Enrolled:
    """Enrol and store everything.

    Args:
        tell: is told of each step as it begins.

    Raises:
        DeniedError, ServiceUnreachableError: from the service.
        OperationError: from the TPM or the disk.
        VerificationError: the grant is not for this box.
    """
    tell(EnrollmentStep.ENROLLING)
    with open_provisioned_tpm(paths.tcti) as tpm:
        ek = endorsement_key(tpm.device)
        challenge = client.enroll(enrollment_request(tpm, ek, release_id, activation_code))  # (1)
        tell(EnrollmentStep.APPRAISING)
        grant = client.prove(answer_challenge(paths, tpm, ek, challenge, release_id))  # (3), (4)
        tell(EnrollmentStep.KEEPING)
        identity = keep_enrollment(tpm, ek, store, challenge.license_id, grant)
        tell(EnrollmentStep.RESTARTING)
        return Enrolled(identity, grant)


def enrollment_request(
    tpm: ProvisionedTpm, ek: EndorsementKey, release_id: str, activation_code: str
) -> EnrollmentRequest:
    """Step (1): who the box is. The same TPM, release and code give the same request."""
    with attestation_key(tpm.device) as ak:
        ak_area = ak.public.area
    return EnrollmentRequest(
        activation_code=activation_code,
        ek_certificates=list(ek.certificates),
        ek_public=ek.public.area,
        ak_public=ak_area,
        srk_public=tpm.srk.public.area,
        release_id=release_id,
    )


def keep_enrollment(
    tpm: ProvisionedTpm, ek: EndorsementKey, store: LeaseStore, license_id: str, grant: Grant
) -> Identity:
    """Step (5): verify the grant and store everything, the identity last.

    Raises:
        FormatError, VerificationError: the grant is not for this box.
        OperationError: from the TPM or the disk.
    """
    with attestation_key(tpm.device) as ak:
        ak_area = ak.public.area
    identity = Identity(
        version=1,
        device_id=device_id(ek.public.area),
        license_id=license_id,
        ek_public=ek.public.area,
        srk_public=tpm.srk.public.area,
        ak_public=ak_area,
    )
    check_grant(grant, identity, tpm, store, number=tpm.lease_number())
    keep_shares(tpm, store, grant)
    store.store_leases(grant.leases)
    store.store_device_certificate(grant.device_certificate)
    store.store_identity(identity)
    return identity


def check_grant(
    grant: Grant, identity: Identity, tpm: ProvisionedTpm, store: LeaseStore, *, number: int
) -> list[Lease]:
    """Demand that a grant is for this box, licence, TPM and lease number, and return its verified leases.

    The service's own time is what its device certificate is held against: the box's clock is not to be relied on.

    Raises:
        FormatError, VerificationError: it is not, or not from our service.
    """
    leases = [store.verify(token) for token in grant.leases]
    expected = {
        "device_id": identity.device_id,
        "license_id": identity.license_id,
        "srk_name": tpm.srk.public.name.hex(),
        "tick_counter_name": tpm.counters.ticks.name.hex(),
        "lease_counter_name": tpm.counters.lease.name.hex(),
        "number": number,
    }
    for lease in leases:
        for name, value in expected.items():
            if getattr(lease, name) != value:
                raise VerificationError(
                    RejectionCode.LEASE_MISMATCH,
                    f"The service's lease is not for this box: its {name} is another.",
                    expected=value,
                    found=getattr(lease, name),
                )
    certified = verify_device_certificate(grant.device_certificate, store.service.device_ca, now=grant.service_time)
    own = (identity.device_id, identity.license_id, parse_public(identity.ak_public).key())
    if (certified.device_id, certified.license_id, certified.ak) != own:
        raise VerificationError(
            RejectionCode.LEASE_MISMATCH, "The service's device certificate is for another box, licence or key."
        )
    return leases


def keep_shares(tpm: ProvisionedTpm, store: LeaseStore, grant: Grant) -> None:
    """Import the shares of a grant under the SRK, and keep them and the release key's approvals."""
    for shares in grant.shares:
        store.store_shares(_imported(tpm, shares, grant.release_approvals))
    store.add_approvals(grant.release_approvals)


def _imported(tpm: ProvisionedTpm, shares: PartitionShares, approvals: list[ReleaseApproval]) -> StoredShares:
    lease_share = import_sealed(tpm.device, tpm.srk, shares.lease_share)
    release_share = import_sealed(tpm.device, tpm.srk, shares.release_share)
    return StoredShares(
        version=1,
        partition_id=shares.partition_id,
        lease_share=ImportedShare(public=lease_share.public_2b, private=lease_share.private_2b),
        release_share=ImportedShare(public=release_share.public_2b, private=release_share.private_2b),
        approvals=[approval for approval in approvals if approval.partition_id == shares.partition_id],
    )


def answer_challenge(
    paths: Paths, tpm: ProvisionedTpm, ek: EndorsementKey, challenge: EnrollmentChallenge, release_id: str
) -> EnrollmentProof:
    """Steps (3) and (4): what only this TPM can answer, and the first evidence.

    Raises:
        VerificationError: the challenge is for another device.
        OperationError: from the TPM or the disk.
    """
    if challenge.device_id != device_id(ek.public.area):
        raise VerificationError(
            RejectionCode.EK_KEY_MISMATCH, "The service's challenge is for another device.", found=challenge.device_id
        )
    bound = qualifying_data(
        nonce=challenge.nonce,
        device_id=challenge.device_id,
        license_id=challenge.license_id,
        release_id=release_id,
        purpose=Purpose.ENROLL,
        payload=b"",
    )
    with attestation_key(tpm.device) as ak:
        secret = activate_credential(tpm.device, ek, ak, challenge.credential_blob, challenge.encrypted_secret)
        return EnrollmentProof(
            enrollment_id=challenge.enrollment_id,
            secret=secret,
            srk_certify=certify_storage_key(tpm.device, ak, tpm.srk, bound),
            evidence=collect_evidence(
                tpm.device,
                ak,
                tpm.counters,
                lambda: read_boot_logs(paths.firmware_log, paths.userspace_log),
                bound,
            ),
        )
