"""A small OS part made by the real tools in seconds, for tests of what the build does around it.

A real erofs root with a real verity tree, and a real UKI: systemd's stub, the real ukify, signed with the build's db
key. Only what boots is missing: its kernel and initrd are a few random bytes. It is put where the build's cache would
hold the OS part, so the build takes it from there by its own rules.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.config import Config
from sealwright_image.context import Context, make_context
from sealwright_image.disk import root_identities
from sealwright_image.erofs import make_erofs
from sealwright_image.os_build import OsBuild
from sealwright_image.os_part import cache_key, os_config, save_build
from sealwright_image.preflight import check_inputs
from sealwright_image.progress import Progress
from sealwright_image.uki import UkiParts, build_uki, command_line

from sealwright_testing.tools_root import cache_directory

STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
WORDS = ("console=ttyS0", "lockdown=confidentiality")


@dataclass(frozen=True, slots=True)
class SmallOs:
    """A cache of its own that holds the tools root, and small OS parts for products."""

    cache_home: Path
    """For XDG_CACHE_HOME."""
    engine: Path

    @classmethod
    def make(cls, folder: Path) -> SmallOs:
        """An empty cache with the tools root of the real one."""
        cache = folder / "cache" / "sealwright"
        cache.mkdir(parents=True)
        (cache / "tools-root").symlink_to((cache_directory() / "tools-root").resolve())
        engine = folder / "llama-server"
        engine.write_bytes(b"\x7fELF engine")
        return cls(folder / "cache", engine)

    def provide(self, config: Config, work: Path, words: Sequence[str] = WORDS) -> OsBuild:
        """Make the OS part for a product and put it into the cache. XDG_CACHE_HOME must be ``cache_home``."""
        context = make_context(work, Progress())
        inputs = check_inputs(config)
        requested = os_config(config, inputs.keys, inputs.custodians, self.engine)
        folder = context.cache / "os-images" / cache_key(requested, context)
        folder.mkdir(parents=True)
        root_hash = _make_root(context, folder)
        parts = _uki_parts(context, folder, command_line(root_hash, words))
        build_uki(parts, requested.signer, context.tools, folder / "uki.efi", context.epoch)
        packages = {"manifest_version": 1, "config": {"distribution": "debian", "release": "trixie"}, "packages": []}
        (folder / "packages.json").write_text(json.dumps(packages))
        identities = root_identities(root_hash)
        built = OsBuild(
            root=folder / "root.raw",
            verity=folder / "root-verity.raw",
            verity_signature=None,
            root_hash=root_hash,
            root_partition_uuid=identities[0],
            verity_partition_uuid=identities[1],
            uki=folder / "uki.efi",
            command_line=parts.command_line,
            kernel_version=parts.kernel_version,
            systemd_version="257.9-1",
            mkosi_version="25.3",
            package_manifest=folder / "packages.json",
            executables=(),
        )
        save_build(built, folder)
        return built


def _make_root(context: Context, folder: Path) -> str:
    """Write root and hash tree; the root hash."""
    tree = folder / "tree"
    tree.mkdir()
    (tree / "content").write_bytes(os.urandom(300_000))
    root, verity, hash_file = folder / "root.raw", folder / "root-verity.raw", folder / "root-hash"
    make_erofs(context.tools, tree, root, uuid.uuid4(), context.epoch)
    context.tools.run(["veritysetup", "format", f"--root-hash-file={hash_file}", root, verity], binds=[folder])
    return hash_file.read_text("ascii").strip()


def _uki_parts(context: Context, folder: Path, command: str) -> UkiParts:
    (folder / "stub").write_bytes((context.cache / "tools-root" / STUB).read_bytes())
    (folder / "vmlinuz").write_bytes(b"MZ" + os.urandom(100_000))
    (folder / "initrd").write_bytes(os.urandom(50_000))
    (folder / "os-release").write_text("ID=sealwright\n")
    return UkiParts(
        kernel=folder / "vmlinuz",
        kernel_version="6.12.0-test",
        initrd=folder / "initrd",
        stub=folder / "stub",
        os_release=folder / "os-release",
        command_line=command,
    )
