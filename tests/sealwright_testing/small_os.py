"""A small OS part made by the real tools in seconds, for tests of what the build does around it.

A real erofs root with a real verity tree, and a real UKI: systemd's stub, the real ukify, signed with the build's db
key. Only what boots is missing: its kernel and initrd are a few random bytes.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from sealwright_image.context import Context
from sealwright_image.disk import root_identities
from sealwright_image.erofs import make_erofs
from sealwright_image.firewall import FIREWALL_PATH
from sealwright_image.os_build import OsBuild, OsConfig
from sealwright_image.os_part import OsSource
from sealwright_image.uki import UkiParts, build_uki, command_line
from sealwright_testing.synthetic_uki import build_kernel
from sealwright_testing.tools_root import cache_directory

STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
TRUSTED = {"executables": 4, "own_lines": 900}
"""What it says it has measured of itself."""
WORDS = ("console=ttyS0", "lockdown=confidentiality")


def build_small_os(config: OsConfig, context: Context, output: Path) -> OsBuild:
    """Stands where mkosi's build does."""
    root_hash = _make_root(context, output, config.shared_files, config.firewall)
    parts = _uki_parts(context, output, command_line(root_hash, WORDS))
    build_uki(parts, config.signer, context.tools, output / "uki.efi", context.epoch)
    packages = {"manifest_version": 1, "config": {"distribution": "debian", "release": "trixie"}, "packages": []}
    (output / "packages.json").write_text(json.dumps(packages))
    (output / "trusted-base.json").write_text(json.dumps(TRUSTED))
    identities = root_identities(root_hash)
    return OsBuild(
        root=output / "root.raw",
        verity=output / "root-verity.raw",
        verity_signature=None,
        root_hash=root_hash,
        root_partition_uuid=identities[0],
        verity_partition_uuid=identities[1],
        uki=output / "uki.efi",
        command_line=parts.command_line,
        kernel_version=parts.kernel_version,
        systemd_version="257.9-1",
        mkosi_version="25.3",
        package_manifest=output / "packages.json",
        trusted_base=output / "trusted-base.json",
        executables=(),
    )


def small_os(folder: Path) -> OsSource:
    """A source for ``build_image`` that needs neither mkosi nor a compiled engine, nor looks at the working tree."""
    engine = folder / "llama-server"
    engine.write_bytes(b"\x7fELF engine")
    package = folder / "distribution" / "sealwright_policies"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package.parent / "pyproject.toml").write_text('[project]\nname = "sealwright-policies"\nversion = "0.1.0"\n')
    return OsSource(engine=lambda: engine, build=build_small_os, recipe=(), python_packages=(package,))


def cache_with_tools(folder: Path) -> Path:
    """A cache of its own, for XDG_CACHE_HOME, that shares only the tools root with the real one."""
    cache = folder / "cache" / "sealwright"
    cache.mkdir(parents=True)
    (cache / "tools-root").symlink_to((cache_directory() / "tools-root").resolve())
    return cache.parent


def _make_root(context: Context, folder: Path, shared_files: Mapping[str, bytes], firewall: str) -> str:
    """Write root and hash tree; the root hash."""
    tree = folder / "tree"
    shared = tree / "usr/share/sealwright"
    shared.mkdir(parents=True)
    for name, content in shared_files.items():
        (shared / name).parent.mkdir(parents=True, exist_ok=True)
        (shared / name).write_bytes(content)
    (tree / FIREWALL_PATH).parent.mkdir(parents=True)
    (tree / FIREWALL_PATH).write_text(firewall)
    (tree / "content").write_bytes(os.urandom(300_000))
    root, verity, hash_file = folder / "root.raw", folder / "root-verity.raw", folder / "root-hash"
    make_erofs(context.tools, tree, root, uuid.uuid4(), context.epoch)
    context.tools.run(["veritysetup", "format", f"--root-hash-file={hash_file}", root, verity], binds=[folder])
    return hash_file.read_text("ascii").strip()


def _uki_parts(context: Context, folder: Path, command: str) -> UkiParts:
    (folder / "stub").write_bytes((context.cache / "tools-root" / STUB).read_bytes())
    (folder / "vmlinuz").write_bytes(build_kernel(os.urandom(100_000)))
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
