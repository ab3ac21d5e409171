"""What an image is, for people: from its signed manifest, nothing decrypted."""

from __future__ import annotations

import datetime

from sealwright_image.contents import ImageFolder
from sealwright_policies.domains.owner_report import ownership

_MIB = 1024 * 1024


def summary(folder: ImageFolder) -> str:
    """A page about an image."""
    manifest = folder.release.manifest
    created = datetime.datetime.fromtimestamp(manifest.created, datetime.UTC)
    disk = folder.disk.stat()
    lines = [
        f"{manifest.product} {manifest.product_version} by {manifest.vendor}"
        + (" — TEST IMAGE, refused under a production licence" if manifest.flavour == "test" else ""),
        f"release     {folder.release.release_id}",
        f"time stamp  {created:%Y-%m-%d %H:%M} UTC",
        f"service     {manifest.service_id}",
        f"disk        {disk.st_size // _MIB} MiB, {disk.st_blocks * 512 // _MIB} MiB of them in use",
        f"kernel      {manifest.tools.kernel}, systemd {manifest.tools.systemd}",
        f"root hash   {manifest.os.root_hash}",
        "",
        "payloads",
    ]
    for payload in manifest.payloads:
        first_line = payload.license_text.strip().splitlines()[0]
        lines += [
            f"  {payload.payload_id}: {payload.kind.value} in domain {payload.domain}, {payload.size // _MIB} MiB",
            f"    partition {payload.verity.root_hash}",
            f"    licence   {first_line}",
        ]
    lines += ["", "domains"]
    for domain in manifest.domains:
        lines += [
            f"  {domain.name}: {domain.level}, of {ownership(domain).line()}",
            f"    digest    {domain.digest}",
            *(f"    egress    {one}" for one in domain.egress),
            *(f"    flow      {one}" for one in domain.flows),
        ]
    if manifest.peers is not None:
        lines += ["", f"peers  {', '.join(manifest.peers) or 'none'}"]
    lines += ["", "expected measurements (SHA-256)"]
    lines += [f"  PCR  4  {one.pcr4}  {one.name}" for one in manifest.measurements.boot_applications]
    lines += [f"  PCR  4  {one.pcr4}  {one.name}, signed after the build" for one in folder.release.variants]
    for pcr in sorted(manifest.measurements.unseal, key=int):
        value, running = manifest.measurements.unseal[pcr], manifest.measurements.running[pcr]
        if value == running:
            lines.append(f"  PCR {pcr:>2}  {value}")
        else:
            lines += [f"  PCR {pcr:>2}  {value}  at the unseal point", f"          {running}  while running"]
    lines += ["", f"command line  {manifest.os.kernel_command_line}"]
    return "\n".join(lines)


def document(folder: ImageFolder) -> dict[str, object]:
    """The same for machines."""
    return {
        "release_id": folder.release.release_id,
        "manifest": folder.release.manifest.model_dump(mode="json"),
        "variants": [one.model_dump(mode="json") for one in folder.release.variants],
    }
