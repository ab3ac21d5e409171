"""A release: the manifest, once its signature is verified (policies/spec/manifest.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import (
    MANIFEST_LIMIT,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    BootApplication,
    Manifest,
    Measurements,
    Statement,
    Subject,
)
from sealwright_policies.domains.ownership import verify_owners
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.envelope import DsseEnvelope, sign_dsse, verify_dsse


@dataclass(frozen=True, slots=True)
class Release:
    """A verified manifest and its id, SHA-256 of the DSSE payload in lower-case hex."""

    release_id: str
    manifest: Manifest
    variants: tuple[BootApplication, ...] = ()
    """Ways through PCR 4 that were signed later (:mod:`.boot_variants`)."""

    @property
    def measurements(self) -> Measurements:
        """The manifest's, with the ways through PCR 4 that were signed later."""
        listed = self.manifest.measurements
        return listed.model_copy(update={"boot_applications": [*listed.boot_applications, *self.variants]})


def verify_release(envelope: bytes, manifest_key: ec.EllipticCurvePublicKey) -> Release:
    """Verify a release manifest.

    Raises:
        FormatError: not an envelope, or its payload is no statement about a manifest.
        VerificationError: ``DOCUMENT_TYPE``, ``DOCUMENT_SIGNATURE``; ``MANIFEST_MISMATCH`` if the statement's subject
            is not the list of the manifest's artefacts, or the manifest lists domains and a payload is of none of them,
            or lists a payload id, partition or domain twice; as :func:`.ownership.verify_owners`.
    """
    payload = verify_dsse(envelope, PAYLOAD_TYPE, manifest_key, limit=MANIFEST_LIMIT)
    statement = parse_json(Statement, payload, limit=MANIFEST_LIMIT)
    if statement.subject != _subjects(statement.predicate):
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH, "The statement's subject is not the list of the manifest's artefacts."
        )
    _check_domains(statement.predicate)
    verify_owners(statement.predicate)
    return Release(hashlib.sha256(payload).hexdigest(), statement.predicate)


def _check_domains(manifest: Manifest) -> None:
    names = [one.name for one in manifest.domains]
    if len(names) != len(set(names)):
        raise VerificationError(RejectionCode.MANIFEST_MISMATCH, "The manifest lists a domain twice.")
    for listed in ("payload_id", "verity.root_hash"):
        found = [attrgetter(listed)(one) for one in manifest.payloads]
        if len(found) != len(set(found)):
            raise VerificationError(RejectionCode.MANIFEST_MISMATCH, f"The manifest lists a {listed} twice.")
    for payload in manifest.payloads:
        if names and payload.domain not in names:
            raise VerificationError(
                RejectionCode.MANIFEST_MISMATCH,
                f"Payload {payload.payload_id} is of domain {payload.domain}, which the manifest does not list.",
            )


def find_release(release_id: str, releases: Mapping[str, Release]) -> Release:
    """The release that a message names.

    Raises:
        VerificationError: ``RELEASE_UNKNOWN``.
    """
    release = releases.get(release_id)
    if release is None:
        raise VerificationError(RejectionCode.RELEASE_UNKNOWN, f"No release {release_id[:16]} was registered.")
    return release


def read_unverified_release(envelope: bytes) -> Release:
    """Read a manifest without checking its signature: for ``what-if``, which trusts nobody and decides nothing, and for
    whoever has checked it.

    Raises:
        FormatError: not an envelope, or its payload is no statement about a manifest.
    """
    payload = parse_json(DsseEnvelope, envelope, limit=MANIFEST_LIMIT).payload
    return Release(hashlib.sha256(payload).hexdigest(), parse_json(Statement, payload, limit=MANIFEST_LIMIT).predicate)


def sign_release(manifest: Manifest, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The DSSE envelope of a manifest, signed by the manifest key."""
    statement = Statement.model_validate(
        {
            "_type": STATEMENT_TYPE,
            "subject": _subjects(manifest),
            "predicateType": PREDICATE_TYPE,
            "predicate": manifest,
        }
    )
    return sign_dsse(document_bytes(statement), PAYLOAD_TYPE, key)


def _subjects(manifest: Manifest) -> list[Subject]:
    return [
        Subject(name=artefact.name, digest={"sha256": artefact.sha256})
        for artefact in (*manifest.artefacts, manifest.sbom)
    ]
