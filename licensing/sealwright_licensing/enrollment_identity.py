"""Who a box says it is, and whether a TPM maker vouches for it (policies/spec/enrollment.md, steps 1 and 2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from sealwright_licensing.certificates import Certificate, parse_certificate, parse_padded_certificate
from sealwright_licensing.endorsement import Anchor, Endorsement, Tier, verify_endorsement
from sealwright_licensing.records import MakerCertificate
from sealwright_licensing.store import Transaction
from sealwright_licensing.tpm_floor import TpmFloor
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.tcg.ek import check_ek
from sealwright_policies.tcg.structures import Public, check_ak, matches_listed_template, parse_public
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.messages import EnrollmentRequest


@dataclass(frozen=True, slots=True)
class ClaimedIdentity:
    """Keys of the listed kinds and certificates that parse; nothing in it is proven."""

    device_id: str
    ek: Public
    ak: Public
    srk: Public
    ek_certificate: Certificate
    chain: tuple[Certificate, ...]


def read_identity(request: EnrollmentRequest) -> ClaimedIdentity:
    """Read the keys of a request and hold each against its templates.

    Raises:
        FormatError, UnsupportedError: a key or certificate cannot be read.
        VerificationError: EK_KEY_MISMATCH, AK_ATTRIBUTES, SRK_TEMPLATE.
    """
    ek, ak, srk = (parse_public(area) for area in (request.ek_public, request.ak_public, request.srk_public))
    check_ek(ek)
    check_ak(ak)
    matches_listed_template(srk)
    leaf, *chain = (parse_padded_certificate(data) for data in request.ek_certificates)
    return ClaimedIdentity(device_id(ek.area), ek, ak, srk, leaf, tuple(chain))


def verify_identity(transaction: Transaction, claimed: ClaimedIdentity, *, now: int) -> Endorsement:
    """Verify the EK's chain against the roots that this deployment trusts.

    Raises:
        VerificationError: EK_CHAIN_INVALID, EK_KEY_MISMATCH, TPM_NOT_ALLOWED.
    """
    stored = transaction.find(MakerCertificate)
    anchors = [Anchor(_parsed(one.encoded), Tier(one.tier)) for one in stored if one.tier]
    intermediates = [_parsed(one.encoded) for one in stored if not one.tier]
    return verify_endorsement(claimed.ek_certificate, [*claimed.chain, *intermediates], anchors, claimed.ek, now=now)


def describe_tpm(endorsement: Endorsement) -> str:
    """What the maker says about the TPM, as it is stored."""
    fields = {
        "manufacturer": endorsement.manufacturer,
        "model": endorsement.model,
        "version": endorsement.version,
        "root": endorsement.anchor_fingerprint,
    }
    return json.dumps(fields, separators=(",", ":"))


def require_allowed_tpm(floor: TpmFloor, tpm: str, result: AttestationResult) -> None:
    """Hold a stored TPM and the firmware that it now shows against the floor.

    Raises:
        VerificationError: TPM_NOT_ALLOWED.
    """
    described = json.loads(tpm)
    floor.require(described["manufacturer"], described["model"], result.tpm_firmware_version)


@lru_cache(maxsize=1024)
def _parsed(encoded: bytes) -> Certificate:
    return parse_certificate(encoded)
