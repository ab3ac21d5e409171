"""Ways through PCR 4 that were signed after the build, for firmware nobody foresaw (policies/spec/manifest.md, 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from sealwright_policies.appraisal.measurements import replay
from sealwright_policies.appraisal.reference_values import MOST_BOOT_APPLICATIONS, BootApplication
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.envelope import DsseEnvelope, sign_dsse, verify_dsse

VARIANTS_PAYLOAD_TYPE: Final = "application/vnd.sealwright.boot-variants+json"
VARIANTS_LIMIT = 64 * 1024
"""Bytes of the longest envelope that is read."""
VARIANTS_ON_ESP = "EFI/sealwright/variants.json"


class BootVariants(Document):
    """The payload of ``variants.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    release_id: Sha256Hex
    boot_applications: Annotated[list[BootApplication], Field(min_length=1, max_length=MOST_BOOT_APPLICATIONS)]


def verify_variants(envelope: bytes, manifest_key: ec.EllipticCurvePublicKey, release: Release) -> Release:
    """The release with the ways that an envelope adds.

    Args:
        envelope: as received.
        manifest_key: that the release's manifest was verified with.
        release: without further ways.

    Raises:
        FormatError: not an envelope, or its payload is no list of variants.
        VerificationError: ``DOCUMENT_TYPE``, ``DOCUMENT_SIGNATURE``; ``MANIFEST_MISMATCH`` if it is of another release,
            or a way does not lead to the release's UKI or to the value that it claims.
    """
    return _extended(release, verify_dsse(envelope, VARIANTS_PAYLOAD_TYPE, manifest_key, limit=VARIANTS_LIMIT))


def read_unverified_variants(envelope: bytes, release: Release) -> Release:
    """The same without the signature, for whoever has checked it.

    Raises:
        FormatError, VerificationError: as above.
    """
    return _extended(release, parse_json(DsseEnvelope, envelope, limit=VARIANTS_LIMIT).payload)


def _extended(release: Release, payload: bytes) -> Release:
    variants = parse_json(BootVariants, payload, limit=VARIANTS_LIMIT)
    if variants.release_id != release.release_id:
        raise _mismatch("The ways through PCR 4 that were signed later are of another release.")
    for one in variants.boot_applications:
        if release.measurements.uki_digest not in one.events:
            raise _mismatch(f"The way {one.name!r} through PCR 4 does not lead to the release's kernel image.")
        if one.pcr4 != replay(map(bytes.fromhex, one.events)).hex():
            raise _mismatch(f"The events of the way {one.name!r} do not give its value of PCR 4.")
    return replace(release, variants=tuple(variants.boot_applications))


def sign_variants(release: Release, manifest_key: ec.EllipticCurvePrivateKey) -> bytes:
    """The DSSE envelope of a release's further ways, at least one."""
    variants = BootVariants(version=1, release_id=release.release_id, boot_applications=list(release.variants))
    return sign_dsse(document_bytes(variants), VARIANTS_PAYLOAD_TYPE, manifest_key)


def _mismatch(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.MANIFEST_MISMATCH, sentence)
