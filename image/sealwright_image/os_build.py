"""What the OS build takes and gives: the seam between the pipeline and ``build_os``.

Everything here is data. The build itself is in ``mkosi`` (packages to a verity root), ``initrd``, ``uki`` and ``esp``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

DEFAULT_KERNEL = "linux-image-cloud-amd64"


class Tools(Protocol):
    """Runs one command in the tools root and returns its standard output; OperationError if it fails."""

    def __call__(
        self,
        argv: Sequence[str | Path],
        *,
        binds: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str: ...


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
    """Folders of our own packages (sealwright_policies, sealwright_appliance), copied to /usr/lib/sealwright/python."""
    engine: Path
    """llama-server, copied to /usr/lib/sealwright/bin."""
    shared_files: Mapping[str, bytes]
    """Files of /usr/share/sealwright by name: license-service.json, manifest-key.pem, product.json."""
    signer: SecureBootSigner
    kernel_package: str = DEFAULT_KERNEL
    extra_packages: tuple[str, ...] = ()
    mirror: str | None = None
    """Debian mirror to use in place of the one that the tools root was made from."""
    engine_libraries: tuple[Path, ...] = ()
    """Shared libraries that lie beside the engine, if it was not linked statically."""
    extra_tree: Path | None = None
    """Copied over the root last; test images plant their payload with it. A production image has none."""
    extra_command_line: tuple[str, ...] = ()
    """Words at the end of the signed command line; for test images."""


@dataclass(frozen=True, slots=True)
class OsContext:
    """Run state: where things are and how commands are run."""

    tools: Tools
    tools_root: Path
    """Root folder of the tools, for its apt sources."""
    definitions: Path
    """The repository's ``image/mkosi``."""
    output: Path
    """Empty or missing folder that gets the results."""
    cache: Path
    """Package and tree caches, kept between builds; on the file system of ``output`` if it can be."""
    source_date_epoch: int
    """Seconds since the epoch: every time stamp in the image, and the signing time of the UKI."""
    timings: dict[str, float] = field(default_factory=dict)
    """Filled by the build: seconds per step."""


@dataclass(frozen=True, slots=True)
class OsBuild:
    """Result of ``build_os``: files under ``OsContext.output`` and the facts that the release manifest repeats."""

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
    executables: tuple[str, ...]
    """Every executable file of the root, absolute paths, sorted: compared with ``image/mkosi/executables.txt``."""
