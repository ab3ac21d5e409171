"""What the OS build takes and gives: the seam between the pipeline and ``build_os``.

Everything here is data. The build itself is ``mkosi.build_os`` (packages to a verity root), with ``initrd`` and
``uki``; ``esp`` makes the ESP once the manifest is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_KERNEL = "linux-image-cloud-amd64"


@dataclass(frozen=True, slots=True)
class SecureBootSigner:
    """The db key that signs the UKI."""

    key: Path
    certificate: Path


@dataclass(frozen=True, slots=True)
class OsConfig:
    """Intent: what the root holds. All paths are absolute."""

    product: str
    """Identifier of the product; IMAGE_ID in os-release."""
    version: str
    """IMAGE_VERSION in os-release."""
    python_packages: tuple[Path, ...]
    """Folders of our own packages (sealwright_policies, sealwright_appliance); what the box imports of them is copied
    to /usr/lib/sealwright/python."""
    engine: Path
    """llama-server, copied to /usr/lib/sealwright/bin."""
    shared_files: Mapping[str, bytes]
    """Files of /usr/share/sealwright by name: license-service.json, manifest-key.pem, product.json."""
    domain_files: Mapping[str, bytes]
    """What the domains compile to, by path in the image. AppArmor profiles go into the initrd instead, in binary."""
    workload_root_hashes: tuple[str, ...]
    """Verity root hashes of workload images, 64 hex digits each: what may be executed beside the root."""
    firewall: str
    """The packet filter's rules, /usr/lib/sealwright/firewall.nft."""
    signer: SecureBootSigner
    packages: tuple[str, ...] = ()
    """Debian packages beside the base; one that starts with linux-image- takes the place of the default kernel."""
    mirror: str | None = None
    """Debian mirror to use in place of the one that the tools root was made from."""
    vector_extension: Path | None = None
    """sqlite-vec, for a product that names a model for documents."""
    extra_tree: Path | None = None
    """Copied over the root last; test images plant their payload with it. A production image has none."""
    extra_command_line: tuple[str, ...] = ()
    """Words at the end of the signed command line; for test images."""


@dataclass(frozen=True, slots=True)
class OsBuild:
    """Result of ``build_os``: files under the output folder and the facts that the release manifest repeats."""

    root: Path
    """erofs."""
    verity: Path
    """dm-verity hash tree of ``root``, with superblock."""
    verity_signature: Path | None
    """Partition for root-verity-sig; None: the root hash is covered by the UKI's own signature."""
    root_hash: str
    """64 hex digits. By the Discoverable Partitions Specification its halves are the two partition UUIDs."""
    root_partition_uuid: str
    verity_partition_uuid: str
    uki: Path
    """Signed."""
    command_line: str
    kernel_version: str
    systemd_version: str
    mkosi_version: str
    package_manifest: Path
    """mkosi's manifest, JSON: every package with its version."""
    trusted_base: Path
    """JSON: how much there is to trust in it (trusted_base.py)."""
    executables: tuple[str, ...]
    """Every executable file of the root, absolute paths, sorted; equal to ``image/mkosi/executables.txt``."""
