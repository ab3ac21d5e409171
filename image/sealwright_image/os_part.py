"""The OS part of an image, built once for the same inputs and then taken from the cache.

Of the payloads it depends on what the engines need for them alone (policies/spec/engines.md), so a build with other
weights of the same size does not repeat it. What is cached also freezes the Debian packages: ``refresh`` builds it with
today's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from sealwright_image.config import Config
from sealwright_image.confinement import POLICIES
from sealwright_image.context import Context
from sealwright_image.engine_memory import engines_document
from sealwright_image.fingerprint import fingerprint
from sealwright_image.firewall import firewall_rules
from sealwright_image.mkosi import DEFINITIONS, build_os
from sealwright_image.os_build import OsBuild, OsConfig, SecureBootSigner
from sealwright_image.preflight import Inputs
from sealwright_image.run import TOOLCHAIN, toolchain
from sealwright_policies.domains.canonical import canonical_form
from sealwright_policies.domains.compiler import compile_units
from sealwright_policies.domains.compiler.journal import JOURNAL_FILE, journal
from sealwright_policies.domains.compiler.mounts import mounts
from sealwright_policies.domains.compiler.outflow import outflow
from sealwright_policies.domains.compiler.workloads import workloads
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes

REPOSITORY = TOOLCHAIN.parents[1]
PYTHON_PACKAGES = (
    REPOSITORY / "policies" / "sealwright_policies",
    REPOSITORY / "appliance" / "sealwright_appliance",
)
_MODULES = (
    *("os_build", "mkosi", "box_modules", "apt_sources", "root_tree", "initrd", "lists", "uki", "cpio", "elf"),
    *("confinement", "ipe", "apparmor", "compiler", "firewall", "trusted_base"),
)
RECIPE = (DEFINITIONS, POLICIES, *(Path(__file__).with_name(f"{name}.py") for name in _MODULES))
"""The modules of this package that decide what the OS part is, mkosi's configuration and the hand-written policies: a
change makes it anew."""
FACTS = "facts.json"
_PATH_FIELDS = ("root", "verity", "verity_signature", "uki", "package_manifest", "trusted_base")
_DAY_S = 86_400
KEPT_DAYS = 14
"""An OS part takes about 170 MB of the cache; one that no build took for so long is removed."""


def engine_path() -> Path:
    """llama-server, compiled by the toolchain if it is not there yet."""
    return Path(toolchain("llama", "server").splitlines()[-1])


def vector_extension() -> Path:
    """sqlite-vec as its wheel brings it, whose hash is in requirements.lock."""
    return Path(str(resources.files("sqlite_vec"))) / "vec0.so"


@dataclasses.dataclass(frozen=True, slots=True)
class OsSource:
    """What makes the parts of an OS that take long."""

    engine: Callable[[], Path] = engine_path
    """Gives the inference server for the root."""
    build: Callable[[OsConfig, Context, Path], OsBuild] = build_os
    """Builds root, verity tree and UKI into a folder."""
    recipe: tuple[Path, ...] = RECIPE
    """Files that decide what ``build`` makes of its configuration."""
    python_packages: tuple[Path, ...] = PYTHON_PACKAGES
    """Our own packages for the root, each in the folder of its distribution."""


def os_config(config: Config, inputs: Inputs, source: OsSource, workload_root_hashes: Iterable[str] = ()) -> OsConfig:
    """What the product file asks of the OS.

    Args:
        config: the product.
        inputs: read and checked.
        source: of what takes long.
        workload_root_hashes: of the product's workload images, 64 hex digits each.
    """
    keys, custodians = inputs.keys, inputs.custodians
    product = {
        "vendor": config.vendor,
        "product": config.product,
        "version": config.version,
        "flavour": config.flavour,
    }
    return OsConfig(
        product=config.product,
        version=config.version,
        python_packages=source.python_packages,
        engine=source.engine(),
        shared_files={
            "license-service.json": custodians.service_file,
            "manifest-key.pem": keys.manifest_pem.encode("ascii"),
            "release-key.pem": keys.release_pem.encode("ascii"),
            "outflow.json": document_bytes(outflow(inputs.domains)),
            **{f"domains/{one.domain.name}.json": canonical_form(one.domain) for one in inputs.domains},
            "mounts.json": document_bytes(mounts(inputs.domains)),
            "workloads.json": document_bytes(workloads(inputs.domains)),
            "engines.json": document_bytes(engines_document(inputs.models, inputs.domains, config.documents)),
            "product.json": json.dumps(product, indent=1, sort_keys=True).encode("utf-8") + b"\n",
        },
        domain_files=compile_units(inputs.domains) | {JOURNAL_FILE: journal(inputs.domains).encode()},
        workload_root_hashes=tuple(sorted(workload_root_hashes)),
        firewall=firewall_rules((POLICIES / "firewall.nft").read_text(), custodians.service.url, config.peers),
        signer=SecureBootSigner(keys.db.key, keys.db.certificate_file),
        packages=config.packages,
        mirror=config.mirror,
        vector_extension=None if config.documents is None else vector_extension(),
        extra_tree=config.extra_tree,
        extra_command_line=config.extra_command_line,
    )


def build_or_reuse(config: OsConfig, context: Context, source: OsSource, *, refresh: bool = False) -> OsBuild:
    """The OS part, from the cache if nothing that it depends on has changed. Its files must not be written to.

    Args:
        config: What is asked for.
        context: The run.
        source: What builds it if need be.
        refresh: Build it in any case, e.g. for Debian's security updates.
    """
    kept = _place(config, context, source)
    if not refresh and (kept / FACTS).exists():
        days = (time.time() - (kept / FACTS).stat().st_mtime) / _DAY_S
        os.utime(kept)
        context.progress.say(f"  OS: unchanged, built {days:.0f} days ago (--refresh-os takes today's packages)")
        return load_build(kept)
    partial = kept.with_name(f"{kept.name[:16]}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save_build(source.build(config, context, partial), partial)
        shutil.rmtree(kept, ignore_errors=True)
        partial.rename(kept)
        _remove_unused(kept.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_build(kept)


def _remove_unused(folder: Path) -> None:
    """Remove OS parts that no build has taken for a while, and what killed builds left."""
    for entry in folder.iterdir():
        if time.time() - entry.stat().st_mtime > KEPT_DAYS * _DAY_S:
            shutil.rmtree(entry, ignore_errors=True)


def is_cached(config: OsConfig, context: Context, source: OsSource) -> bool:
    """Whether :func:`build_or_reuse` would take it from the cache."""
    return (_place(config, context, source) / FACTS).exists()


def _place(config: OsConfig, context: Context, source: OsSource) -> Path:
    return context.cache / "os-images" / cache_key(config, context, source)


def cache_key(config: OsConfig, context: Context, source: OsSource) -> str:
    """Hash of everything that the OS part follows from."""
    files = [*source.recipe, *config.python_packages, config.engine, config.signer.certificate]
    files += [path for path in (config.vector_extension, config.extra_tree) if path is not None]
    values = {
        "product": config.product,
        "version": config.version,
        "packages": " ".join(config.packages),
        "mirror": config.mirror or "",
        "firewall": config.firewall,
        "command line": " ".join(config.extra_command_line),
        "workloads": " ".join(config.workload_root_hashes),
        "epoch": str(context.epoch),
        "tools": (context.cache / "tools-root").resolve().name,
        **{f"file {name}": content.decode("utf-8") for name, content in config.shared_files.items()},
        **{f"domain file {path}": content.decode("utf-8") for path, content in config.domain_files.items()},
    }
    return fingerprint(files, values)


def save_build(build: OsBuild, folder: Path) -> None:
    """Write the facts of a build beside its files, which lie in the same folder."""
    facts = dataclasses.asdict(build)
    for field in _PATH_FIELDS:
        facts[field] = str(facts[field].relative_to(folder)) if facts[field] else None
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def load_build(folder: Path) -> OsBuild:
    """What :func:`save_build` wrote."""
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        for field in _PATH_FIELDS:
            facts[field] = folder / facts[field] if facts[field] else None
        return OsBuild(**facts | {"executables": tuple(facts["executables"])})
    except (ValueError, KeyError, TypeError) as error:
        raise OperationError(f"{folder}: the cached OS part is damaged.", cure=f"Remove {folder}.") from error
