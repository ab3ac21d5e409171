"""Approves further ways through PCR 4 for an image that is built: signed offline, nothing is built anew.

The manifest key signs the list of them all (variants.json), the release key each boot state for each partition
(approvals.json; where it is elsewhere, it is asked by file). Both land beside the manifest, and the list on the image's
ESP too, where the box looks for it.
Every step can be done again: what is there already stays as it is, so a run that was cut off is completed by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sealwright_image import output as names
from sealwright_image.approval_files import save_approvals, write_request
from sealwright_image.boot_log import Images
from sealwright_image.contents import ImageFolder, load_approvals
from sealwright_image.disk import find_partition, read_table
from sealwright_image.esp import put_on_esp
from sealwright_image.keys import BuildKeys
from sealwright_image.manifest import sign_approvals
from sealwright_image.run import Tools
from sealwright_policies.appraisal.boot_variants import VARIANTS_ON_ESP, sign_variants
from sealwright_policies.appraisal.pe import authenticode_sha256, uki_sections
from sealwright_policies.appraisal.reference_values import MOST_BOOT_APPLICATIONS, BootApplication
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import FormatError, UsageError


def release_images(folder: ImageFolder) -> Images:
    """Digests of the folder's kernel image.

    Raises:
        UsageError: it is not there.
        FormatError: it is not the release's.
    """
    try:
        uki = (folder.path / names.UKI).read_bytes()
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}.") from error
    images = Images(authenticode_sha256(uki).hex(), authenticode_sha256(uki_sections(uki)[".linux"]).hex())
    if images.uki != folder.release.measurements.uki_digest:
        raise FormatError(f"{names.UKI} is not the kernel image that the manifest lists.")
    return images


def approve(folder: ImageFolder, further: Sequence[BootApplication], keys: BuildKeys, tools: Tools) -> Release:
    """Sign further ways, and complete what an earlier run has left undone; returns the release with all of them.

    Args:
        folder: its manifest verified with the public half of the manifest key.
        further: ways that are not listed yet.
        keys: of the build.
        tools: the tools root.

    Raises:
        UsageError: the release key is not the image's, they would be more than a reader accepts, or a name is taken.
        OperationError: something cannot be written.
        FormatError: the disk has no ESP.
    """
    if keys.release_pem != folder.release.manifest.release_key:
        raise UsageError("The release key is not the one that the image was built with.")
    release = replace(folder.release, variants=(*folder.release.variants, *further))
    taken = [one.name for one in release.measurements.boot_applications]
    if len(release.variants) > MOST_BOOT_APPLICATIONS:
        raise UsageError(f"A release can have {MOST_BOOT_APPLICATIONS} ways signed later; these would be more.")
    if len(set(taken)) != len(taken):
        raise UsageError("A way of this name is listed already; choose another --name.")
    if further:
        names.write_durably(folder.path / names.VARIANTS, sign_variants(release, keys.manifest))
    _complete_approvals(folder, release, keys)
    if release.variants and folder.disk.exists():
        esp = find_partition(read_table(tools, folder.disk), "esp")
        put_on_esp(folder.disk, esp.offset, VARIANTS_ON_ESP, folder.path / names.VARIANTS, tools)
    return release


def _complete_approvals(folder: ImageFolder, release: Release, keys: BuildKeys) -> None:
    """Sign what is missing, or ask for it where the release key is elsewhere."""
    present = list(load_approvals(folder))
    if keys.release is not None:
        made = {(one.partition_id, one.pcrs["4"]) for one in present}
        signed = sign_approvals(release, keys.release)
        missing = [one for one in signed if (one.partition_id, one.pcrs["4"]) not in made]
        if missing:
            present += missing
            save_approvals(folder.path, present)
    write_request(folder.path, release, present)
