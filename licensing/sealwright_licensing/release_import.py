"""Import of a release: a build's output is verified whole, then becomes known to the service.

Everything that could make an activation fail later is tried here: signatures of manifest and approvals, the wraps of
both shares and the key that they make, and that no partition or boot variant is left without an approval.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing.actors import Actor
from sealwright_licensing.custodian import Custodians
from sealwright_licensing.journal import record_operation
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.records import ReleaseRecord, ReleaseShares
from sealwright_licensing.release_proofs import enter_release
from sealwright_licensing.store import Store
from sealwright_licensing.stored_releases import (
    ReleaseApprovals,
    stored_approvals,
    stored_variants,
    variants_json,
    verify_stored_release,
)
from sealwright_policies.appraisal.boot_variants import verify_variants
from sealwright_policies.appraisal.reference_values import (
    RELEASE_APPROVAL_SET,
    Manifest,
    WrappedShares,
)
from sealwright_policies.appraisal.release import Release, verify_release
from sealwright_policies.domains.ownership import owner_key_id
from sealwright_policies.errors import OperationError, RejectionCode, SealwrightError, VerificationError
from sealwright_policies.wire.encoding import Document, parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import domain_key_id
from sealwright_policies.wire.messages import MESSAGE_LIMIT, ReleaseApproval
from sealwright_policies.wire.release_approval import verify_release_approval
from sealwright_policies.wire.volume_key import derive_volume_key, key_check

MANIFEST_FILE, SHARES_FILE, APPROVALS_FILE = "manifest.json", "shares.json", "approvals.json"
VARIANTS_FILE = "variants.json"


@dataclass(frozen=True, slots=True)
class BuildOutput:
    """The files of a build that the service wants, unverified."""

    manifest: bytes
    shares: bytes
    approvals: bytes
    variants: bytes | None = None
    """Written by `sealwright-image approve-boot`, if at all."""


def read_build_output(folder: Path) -> BuildOutput:
    """Read the files from a build's output folder."""
    try:
        manifest, shares, approvals = (
            (folder / name).read_bytes() for name in (MANIFEST_FILE, SHARES_FILE, APPROVALS_FILE)
        )
        variants = folder / VARIANTS_FILE
        return BuildOutput(manifest, shares, approvals, variants.read_bytes() if variants.exists() else None)
    except OSError as error:
        raise OperationError(
            f"{error.filename} cannot be read: {error.strerror}.",
            cure="Give the output folder of `sealwright-image build`.",
        ) from error


def import_release(
    store: Store,
    actor: Actor,
    custodians: Custodians,
    output: BuildOutput,
    manifest_key: ec.EllipticCurvePublicKey,
    *,
    trusted: ManifestKeys,
    service_id: str,
    service_files: Collection[str],
    now: int,
) -> tuple[Release, bool]:
    """Verify a build's output and store it; importing it again adds approvals and ways through PCR 4, and takes none.

    Args:
        actor: who trusts the manifest key and the release.
        manifest_key: what the manifest must be signed with; from now on a trusted key.
        trusted: where it is kept.
        service_id: of this service.
        service_files: hashes of the licence-service files by whose keys images are served.
        now: seconds since the epoch.

    Returns:
        The release with all its ways through PCR 4, and whether it is new.

    Raises:
        VerificationError: DOCUMENT_SIGNATURE, DOCUMENT_TYPE, MANIFEST_MISMATCH.
        FormatError: a file is not what it should be.
    """
    release = verify_release(output.manifest, manifest_key)
    if output.variants is not None:
        release = verify_variants(output.variants, manifest_key, release)
    shares = parse_json(WrappedShares, output.shares, limit=MESSAGE_LIMIT)
    approvals = parse_json(ReleaseApprovals, output.approvals, limit=MESSAGE_LIMIT).root
    _check_service(release.manifest, shares, service_id)
    _check_service_file(release.manifest, service_files)
    _check_shares(release, shares, custodians)
    check_approvals(release, approvals)
    manifest = release.manifest
    fingerprint = trusted.trust(manifest_key)  # before the record, for a service that runs reads both
    signed = [] if output.variants is None else [output.variants]
    with store.write() as transaction:
        known = transaction.get(ReleaseRecord, release.release_id)
        if known is not None and (earlier := _verified(known, manifest_key)) is not None:
            release, approvals, signed = _united(earlier, known, release, approvals, signed)
        transaction.put(
            ReleaseRecord(
                release_id=release.release_id,
                product=manifest.product,
                version=manifest.product_version,
                flavour=manifest.flavour,
                envelope=output.manifest,
                manifest_key=fingerprint,
                approvals=_json_list(approvals),
                variants=variants_json(signed),
                imported_at=known.imported_at if known else now,
                withdrawn=known.withdrawn if known else False,
            )
        )
        record_operation(
            transaction,
            actor=actor,
            operation="release.import",
            subject=release.release_id,
            detail={"product": manifest.product, "version": manifest.product_version, "manifest_key": fingerprint},
            now=now,
        )
        enter_release(transaction, release.release_id, manifest.product, manifest.product_version)
        for partition in shares.partitions:
            wrapped = partition.model_dump_json()
            transaction.put(ReleaseShares(release.release_id, partition.partition_id, wrapped))
    return release, known is None


def _verified(known: ReleaseRecord, manifest_key: ec.EllipticCurvePublicKey) -> Release | None:
    """The release of a record that is as an import under this key left it; another import starts anew."""
    try:
        release = verify_stored_release(known.envelope, known.variants, manifest_key)
        check_approvals(release, stored_approvals(known))
    except SealwrightError:
        return None
    return release if release.release_id == known.release_id else None


def _united(
    earlier: Release,
    known: ReleaseRecord,
    release: Release,
    approvals: Iterable[ReleaseApproval],
    signed: list[bytes],
) -> tuple[Release, list[ReleaseApproval], list[bytes]]:
    """What was known, and what was imported now: a folder without the ways signed later withdraws none."""
    ways = {one.pcr4 for one in release.measurements.boot_applications}
    kept = [one for one in stored_approvals(known) if one.pcrs["4"] not in ways]
    before = {one.pcr4 for one in earlier.measurements.boot_applications}
    added = [one for one in release.variants if one.pcr4 not in before]
    lists = [*stored_variants(known), *(signed if added else [])]
    return replace(release, variants=(*earlier.variants, *added)), [*approvals, *kept], lists


def _json_list(documents: Iterable[Document]) -> str:
    return json.dumps([one.model_dump(mode="json") for one in documents], separators=(",", ":"))


def _mismatch(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.MANIFEST_MISMATCH, sentence)


def _check_service(manifest: Manifest, shares: WrappedShares, service_id: str) -> None:
    for found, what in ((manifest.service_id, "image"), (shares.service_id, "key shares")):
        if found != service_id:
            raise _mismatch(f"the {what} were made for licence service {found!r}, this is {service_id!r}")


def _check_service_file(manifest: Manifest, known: Collection[str]) -> None:
    if manifest.service_file is not None and manifest.service_file not in known:
        raise _mismatch(
            f"the image carries licence-service file {manifest.service_file[:16]}, whose keys this service has not"
        )


def _check_shares(release: Release, shares: WrappedShares, custodians: Custodians) -> None:
    if shares.release_id != release.release_id:
        raise _mismatch("the key shares belong to another release than the manifest")
    checks = {payload.verity.root_hash: payload.key_check for payload in release.manifest.payloads}
    domains = {payload.verity.root_hash: payload.domain for payload in release.manifest.payloads}
    if sorted(partition.partition_id for partition in shares.partitions) != sorted(checks):
        raise _mismatch("the key shares are not for the partitions that the manifest lists")
    for partition in shares.partitions:
        partition_id = bytes.fromhex(partition.partition_id)
        owner = owner_key_id(release.manifest, domains[partition.partition_id])
        key = derive_volume_key(*custodians.unwrap(partition), partition_id, owner)
        if key_check(key, partition_id) != checks[partition.partition_id]:
            raise _mismatch(f"the key shares of partition {partition.partition_id[:16]} do not make its key")


def check_approvals(release: Release, approvals: Iterable[ReleaseApproval]) -> None:
    """Verify the release key's approvals: one for each partition, and the domain key, and each way through PCR 4.

    Raises:
        VerificationError: MANIFEST_MISMATCH, DOCUMENT_SIGNATURE.
    """
    manifest = release.manifest
    key = load_p256_public_key(manifest.release_key)
    partitions = {*(payload.verity.root_hash for payload in manifest.payloads), domain_key_id().hex()}
    fixed = {pcr: manifest.measurements.unseal[str(pcr)] for pcr in RELEASE_APPROVAL_SET if pcr != 4}
    ways = {application.pcr4 for application in release.measurements.boot_applications}
    wanted = {(part, pcr4) for part in partitions for pcr4 in ways}
    for approval in approvals:
        values = {str(pcr): value for pcr, value in fixed.items()} | {"4": approval.pcrs.get("4", "")}
        if approval.release_id != release.release_id or approval.partition_id not in partitions:
            raise _mismatch("an approval is for another release or partition")
        if approval.pcrs != values:
            raise _mismatch("an approval is for other PCR values at the unseal point than the manifest's")
        if approval.pcrs["4"] not in ways:
            raise _mismatch("an approval is for a way through PCR 4 that neither the manifest nor variants.json lists")
        verify_release_approval(approval, key)
        wanted.discard((approval.partition_id, approval.pcrs["4"]))
    if wanted:
        partition, pcr4 = min(wanted)
        raise _mismatch(f"partition {partition[:16]} has no approval for the boot application with PCR 4 {pcr4[:16]}")
