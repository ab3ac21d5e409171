"""The release manifest and what is signed beside it: reference values for the licence service and the box.

Puts together what the other steps found; the predictions themselves are in sealwright_policies.appraisal.measurements.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_image.config import Config
from sealwright_image.keys import BuildKeys
from sealwright_image.os_build import OsBuild
from sealwright_image.secure_boot import firmware_keys
from sealwright_policies.appraisal.measurements import predict_measurements
from sealwright_policies.appraisal.reference_values import (
    Artefact,
    DomainSummary,
    Manifest,
    OsImage,
    Payload,
    Tools,
)
from sealwright_policies.appraisal.release import Release
from sealwright_policies.wire.approval_request import wanted_approvals
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.messages import ReleaseApproval
from sealwright_policies.wire.release_approval import sign_release_approval


def artefact(name: str, path: Path) -> Artefact:
    """Hash and size of a file, under a name."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Artefact(name=name, sha256=digest, size=path.stat().st_size)


def compose_manifest(
    config: Config,
    os_build: OsBuild,
    payloads: Sequence[Payload],
    domains: Sequence[DomainSummary],
    keys: BuildKeys,
    *,
    artefacts: Sequence[Artefact],
    sbom: Artefact,
    service_id: str,
    service_file: bytes,
    epoch: int,
) -> Manifest:
    """The manifest of a build, measurements predicted."""
    uki = os_build.uki.read_bytes()
    return Manifest(
        version=1,
        vendor=config.vendor,
        product=config.product,
        product_version=config.version,
        flavour=config.flavour,
        architecture="x86-64",
        created=epoch,
        os=OsImage(
            root_hash=os_build.root_hash,
            root_partition_uuid=os_build.root_partition_uuid,
            verity_partition_uuid=os_build.verity_partition_uuid,
            kernel_command_line=os_build.command_line,
            uki_sha256=hashlib.sha256(uki).hexdigest(),
        ),
        payloads=list(payloads),
        measurements=predict_measurements(uki, firmware_keys(keys)),
        artefacts=list(artefacts),
        sbom=sbom,
        service_id=service_id,
        service_file=hashlib.sha256(service_file).hexdigest(),
        release_key=keys.release_pem,
        domains=list(domains),
        peers=sorted(str(one) for one in config.peers),
        tools=Tools(
            systemd=os_build.systemd_version,
            kernel=os_build.kernel_version,
            mkosi=os_build.mkosi_version,
            sealwright=importlib.metadata.version("sealwright-image"),
        ),
    )


def sign_approvals(release: Release, release_key: ec.EllipticCurvePrivateKey) -> list[ReleaseApproval]:
    """The release key's word for every payload partition and every approved state."""
    return [
        sign_release_approval(release.release_id, one.partition_id, pcr_bytes(one.pcrs), release_key)
        for one in wanted_approvals(release)
    ]
