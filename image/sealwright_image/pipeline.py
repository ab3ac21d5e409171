"""From a product file to an output folder: the order of the steps, each of which is a module of its own.

(1) check everything that can be checked, (2) build or reuse the OS part, and hold what it makes trusted against the
ledgers, (3) pack and encrypt the payloads into the disk, (4) write the bill of materials, (5) predict and sign the
manifest, (6) approve the release's boot states, (7) make the ESP, which carries the manifest, and the partition table,
(8) publish the folder under its final name.
"""

from __future__ import annotations

import json
import shutil
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sealwright_image import output as names
from sealwright_image.approval_files import save_approvals, write_request
from sealwright_image.config import Config, PayloadConfig
from sealwright_image.context import Context, make_context
from sealwright_image.disk import (
    DATA_TYPE,
    ESP_TYPE,
    NO_AUTO,
    READ_ONLY,
    ROOT_TYPE,
    VERITY_SIGNATURE_TYPE,
    VERITY_TYPE,
    Layout,
    copy_sparse,
)
from sealwright_image.domains import require_workloads
from sealwright_image.esp import UKI_ON_ESP, build_esp, esp_size
from sealwright_image.gguf import Gguf
from sealwright_image.manifest import artefact, compose_manifest, sign_approvals
from sealwright_image.os_build import OsBuild, OsConfig
from sealwright_image.os_part import OsSource, build_or_reuse, is_cached, os_config
from sealwright_image.payload_partition import (
    MIB,
    PlainPartition,
    SealedPartition,
    build_plain_partition,
    seal_partition,
)
from sealwright_image.preflight import Inputs, check_inputs, check_space, check_tools, space_needed
from sealwright_image.progress import Progress
from sealwright_image.sbom import Component, debian_components, write_sbom
from sealwright_image.secure_boot import write_enrolment_files
from sealwright_image.shares import draw_shares
from sealwright_image.tcb_ledger import load_limits, load_measured, require_recorded
from sealwright_image.workload_image import take_image
from sealwright_policies.appraisal.reference_values import (
    MANIFEST_LIMIT,
    MANIFEST_ON_ESP,
    Manifest,
    PayloadKind,
    WrappedShares,
)
from sealwright_policies.appraisal.release import Release, sign_release, verify_release
from sealwright_policies.domains.canonical import summarise
from sealwright_policies.domains.ownership import key_id
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes

BINDING_BYTES = 16 * MIB


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What a build has made."""

    output: Path
    release: Release


_COMPONENT_TYPES = {
    PayloadKind.MODEL: "machine-learning-model",
    PayloadKind.DATA_SET: "data",
    PayloadKind.WORKLOAD: "application",
}


@dataclass(frozen=True, slots=True)
class OsPart:
    """The OS part of this build."""

    config: OsConfig
    build: OsBuild
    workloads: Mapping[str, PlainPartition]
    """Images that its policy lets run, by payload id."""


def build_image(
    config: Config,
    output: Path,
    progress: Progress,
    *,
    force: bool = False,
    refresh_os: bool = False,
    os_source: OsSource | None = None,
) -> BuiltImage:
    """Build an image.

    Args:
        config: The product.
        output: Final folder; appears only when everything is in it.
        progress: Where steps are shown and timed.
        force: Replace an image that is there.
        refresh_os: Do not reuse a cached OS part.
        os_source: What makes the OS part; by default the toolchain and mkosi.

    Raises:
        SealwrightError: the product file's inputs are not usable, a tool failed, there is no space, or what has to be
            trusted has grown and no ledger says why.
    """
    source = os_source or OsSource()
    names.refuse_existing(output, force=force)
    inputs, limits = check_inputs(config), load_limits(config.ledger)  # (1)
    with names.partial_output(output) as partial:
        work = partial / "work"
        work.mkdir()
        context = make_context(work, progress)
        check_tools(context)
        plain = _plain_workloads(config, context)
        require_workloads(inputs.domains, inputs.signed, {name: one.verity.root_hash for name, one in plain.items()})
        requested = os_config(config, inputs, source, [one.verity.root_hash for one in plain.values()])
        os_cached = not refresh_os and is_cached(requested, context, source)
        check_space(space_needed(config, output, context, os_cached=os_cached))
        try:
            os_build = build_or_reuse(requested, context, source, refresh=refresh_os)  # (2)
            require_recorded(load_measured(os_build.trusted_base), limits, config.ledger, config.product_file)
            release = _build_into(partial, config, inputs, context, OsPart(requested, os_build, plain))
        except OSError as error:
            raise OperationError(f"{error.filename or output}: {error.strerror}.") from error
        shutil.rmtree(work)
        with progress.step("flush to disk"):
            names.publish(partial, output)  # (8)
    return BuiltImage(output, release)


def _plain_workloads(config: Config, context: Context) -> dict[str, PlainPartition]:
    """Workload images, by payload id: the policy in the UKI names their root hashes, so they come before it."""
    return {one.payload_id: _plain(config, one, context) for one in config.payloads if one.kind is PayloadKind.WORKLOAD}


def _plain(config: Config, payload: PayloadConfig, context: Context) -> PlainPartition:
    if payload.is_packed:
        return take_image(context, payload.path, payload.payload_id)
    return build_plain_partition(context, payload, uuid.UUID(_identity(config, f"file-system/{payload.payload_id}")))


def _build_into(partial: Path, config: Config, inputs: Inputs, context: Context, os_part: OsPart) -> Release:
    keys, os_build = inputs.keys, os_part.build
    layout = Layout(partial / names.DISK)
    esp = layout.reserve(
        "esp", ESP_TYPE, _identity(config, "esp"), esp_size(os_build.uki.stat().st_size + MANIFEST_LIMIT), NO_AUTO
    )
    _add_os(layout, config, os_build)
    sealed = _add_payloads(layout, config, inputs, context, os_part.workloads)  # (3)
    shutil.copyfile(os_build.uki, partial / names.UKI)
    shutil.copyfile(os_build.trusted_base, partial / names.TRUSTED_BASE)
    write_sbom(  # (4)
        config, _components(config, inputs, os_part, sealed), context.epoch, partial / names.SBOM
    )
    manifest = _manifest(config, inputs, os_build, sealed, partial=partial, epoch=context.epoch)  # (5)
    envelope = sign_release(manifest, keys.manifest)
    (partial / names.MANIFEST).write_bytes(envelope)
    (partial / names.MANIFEST_KEY).write_text(keys.manifest_pem, "ascii")
    release = verify_release(envelope, keys.manifest.public_key())
    _write_signed_documents(release, inputs, sealed, partial)  # (6)
    write_enrolment_files(keys, partial / names.SECURE_BOOT)
    with context.progress.step("ESP and partition table"):  # (7)
        image = context.work / "esp.raw"
        files = {UKI_ON_ESP: partial / names.UKI, MANIFEST_ON_ESP: partial / names.MANIFEST}
        build_esp(files, context.tools, image, context.epoch)
        copy_sparse(image, layout.disk, esp.offset)
        layout.write_table(context.tools, uuid.UUID(_identity(config, "disk")))
    _write_timings(release, context.progress, partial / names.BUILD)
    return release


def _add_os(layout: Layout, config: Config, os_build: OsBuild) -> None:
    layout.add_file("root", ROOT_TYPE, os_build.root_partition_uuid, os_build.root, READ_ONLY)
    layout.add_file("root-verity", VERITY_TYPE, os_build.verity_partition_uuid, os_build.verity, READ_ONLY)
    if os_build.verity_signature:
        identity = _identity(config, "root-verity-sig")
        layout.add_file("root-verity-sig", VERITY_SIGNATURE_TYPE, identity, os_build.verity_signature, READ_ONLY)
    # Both stay zeros: the box formats them at its first boot, with a key that it draws itself.
    layout.reserve("binding", DATA_TYPE, _identity(config, "binding"), BINDING_BYTES, NO_AUTO)
    layout.reserve("state", DATA_TYPE, _identity(config, "state"), config.state_bytes, NO_AUTO)


def _add_payloads(
    layout: Layout, config: Config, inputs: Inputs, context: Context, plain_workloads: Mapping[str, PlainPartition]
) -> list[SealedPartition]:
    sealed = []
    for payload in config.payloads:
        plain = plain_workloads.get(payload.payload_id) or _plain(config, payload, context)
        identity = _identity(config, payload.partition_label)
        place = layout.reserve(payload.partition_label, DATA_TYPE, identity, plain.size, f"{READ_ONLY},{NO_AUTO}")
        with context.progress.step(f"{payload.payload_id}: encryption", plain.size) as step:
            sealed.append(
                seal_partition(
                    plain,
                    payload,
                    draw_shares(),
                    inputs.custodians,
                    disk=layout.disk,
                    offset=place.offset,
                    identity=uuid.UUID(identity),
                    owner_key_id=key_id(inputs.domains.by_name[payload.domain].domain),
                    advance=step.advance,
                )
            )
    return sealed


def _components(config: Config, inputs: Inputs, os_part: OsPart, sealed: Sequence[SealedPartition]) -> list[Component]:
    ours = [Component("library", package.name, _version(package)) for package in os_part.config.python_packages]
    programs = [("application", artefact("llama-server", os_part.config.engine))]
    if (extension := os_part.config.vector_extension) is not None:
        programs.append(("library", artefact("sqlite-vec", extension)))
    payloads = [
        _payload_component(config, inputs.models.get(partition.payload.payload_id), partition) for partition in sealed
    ]
    return [
        *debian_components(os_part.build.package_manifest),
        *ours,
        *(Component(kind, one.name, one.sha256[:16], sha256=one.sha256) for kind, one in programs),
        *payloads,
    ]


def _payload_component(config: Config, model: Gguf | None, partition: SealedPartition) -> Component:
    name = partition.payload.payload_id
    return Component(
        _COMPONENT_TYPES[partition.payload.kind],
        name if model is None else model.name or name,
        config.version,
        sha256=partition.content_sha256,
        license=partition.payload.license_text,
    )


def _version(package: Path) -> str:
    """Of one of our packages, from the pyproject.toml beside it."""
    version: str = tomllib.loads((package.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return version


def _manifest(
    config: Config,
    inputs: Inputs,
    os_build: OsBuild,
    sealed: Sequence[SealedPartition],
    *,
    partial: Path,
    epoch: int,
) -> Manifest:
    artefacts = [artefact("root", os_build.root), artefact("root-verity", os_build.verity)]
    if os_build.verity_signature:
        artefacts.append(artefact("root-verity-sig", os_build.verity_signature))
    artefacts.append(artefact(names.UKI, partial / names.UKI))
    return compose_manifest(
        config,
        os_build,
        [partition.payload for partition in sealed],
        [summarise(one.domain, inputs.signed.get(one.domain.name)) for one in inputs.domains],
        inputs.keys,
        artefacts=artefacts,
        sbom=artefact(names.SBOM, partial / names.SBOM),
        service_id=inputs.custodians.service.service_id,
        service_file=inputs.custodians.service_file,
        epoch=epoch,
    )


def _write_signed_documents(release: Release, inputs: Inputs, sealed: Sequence[SealedPartition], partial: Path) -> None:
    shares = WrappedShares(
        version=1,
        release_id=release.release_id,
        service_id=inputs.custodians.service.service_id,
        partitions=[partition.shares for partition in sealed],
    )
    (partial / names.SHARES).write_bytes(document_bytes(shares))
    release_key = inputs.keys.release
    approvals = [] if release_key is None else sign_approvals(release, release_key)
    save_approvals(partial, approvals)
    write_request(partial, release, approvals)


def _write_timings(release: Release, progress: Progress, target: Path) -> None:
    document = {"release_id": release.release_id, "steps": [asdict(step) for step in progress.steps]}
    target.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _identity(config: Config, name: str) -> str:
    return str(uuid.uuid5(config.seed, name))
