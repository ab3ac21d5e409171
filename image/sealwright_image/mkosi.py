"""The OS: Debian packages to a verity root by mkosi, then initrd and UKI.

What is constant lies in image/mkosi as mkosi's own configuration files; what depends on the product goes onto mkosi's
command line here. The build refuses a root that holds an executable beside image/mkosi/executables.txt, or lacks one.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.apt_sources import debian_sources
from sealwright_image.box_modules import box_modules, programs
from sealwright_image.compiler import compile_freestanding
from sealwright_image.confinement import initrd_additions, is_profile
from sealwright_image.context import Context
from sealwright_image.cpio import Entry
from sealwright_image.firewall import FIREWALL_PATH
from sealwright_image.initrd import InitrdLists, build_initrd, kernel_version
from sealwright_image.lists import parse_list
from sealwright_image.os_build import DEFAULT_KERNEL, OsBuild, OsConfig
from sealwright_image.root_tree import RootTree
from sealwright_image.trusted_base import measure
from sealwright_image.uki import UkiParts, build_uki, command_line
from sealwright_policies.domains.compiler.units import LAUNCHER
from sealwright_policies.engines import VECTOR_EXTENSION
from sealwright_policies.errors import OperationError

DEFINITIONS = Path(__file__).resolve().parents[1] / "mkosi"
"""image/mkosi of the source checkout."""
IMAGE_ID = "sealwright"
SHARED_FOLDER = "usr/share/sealwright"
PYTHON_FOLDER = "usr/lib/sealwright/python"
ENGINE_PATH = "usr/lib/sealwright/bin/llama-server"
PROGRAMS = DEFINITIONS / "programs"
"""Sources of our own programs in C: the initrd's first one, and the launcher."""


@dataclass(frozen=True, slots=True)
class MkosiFolders:
    """Where mkosi works."""

    output: Path
    packages: Path
    trees: Path
    workspace: Path
    sandbox: Path
    """etc/apt/sources.list.d/mkosi.sources lies in it."""
    extra: Path
    """Our own files, copied over the packages."""

    def all(self) -> tuple[Path, ...]:
        return (self.output, self.packages, self.trees, self.workspace, self.sandbox, self.extra)


def build_os(config: OsConfig, context: Context, output: Path) -> OsBuild:
    """Build root, verity tree and UKI into ``output``, an empty or missing folder.

    Raises:
        OperationError: a tool failed, or the root is not as the lists demand.
    """
    output.mkdir(parents=True, exist_ok=True)
    cache = context.cache / "mkosi"
    work = context.work / "os"
    folders = MkosiFolders(
        output=work / "mkosi",
        packages=cache / "packages",
        trees=cache / "trees",
        workspace=work / "workspace",
        sandbox=work / "sandbox",
        extra=work / "extra",
    )
    for folder in folders.all():
        folder.mkdir(parents=True, exist_ok=True)
    stage_apt_sources(config, context, folders.sandbox)
    stage_extra_tree(config, folders.extra)
    compile_freestanding(PROGRAMS / "launch.c", folders.extra / LAUNCHER.lstrip("/"), context.tools)
    with context.progress.step("operating system (mkosi)"), _exclusive(cache / "lock"):
        context.tools.run(
            mkosi_argv(config, folders, context.epoch),
            binds=[work, cache],
            cwd=DEFINITIONS,
            environment={"SOURCE_DATE_EPOCH": str(context.epoch)},
            log=work / "mkosi.log",
        )
    tree = RootTree.load(folders.output / "tree.tar")
    executables = check_executables(tree.executables(), config)
    check_privileged(tree.privileged(), config)
    root, verity, root_hash = _take_partitions(context, folders.output, output)
    parts, initrd = _boot_parts(tree, context, folders.output, root_hash, config)
    uki = output / "uki.efi"
    with context.progress.step("unified kernel image"):
        build_uki(parts, config.signer, context.tools, uki, context.epoch)
    manifest = output / "packages.json"
    shutil.move(folders.output / f"{IMAGE_ID}.manifest", manifest)
    trusted_base = output / "trusted-base.json"
    _write_trusted_base(tree, initrd, config, manifest, trusted_base)
    halves = uuid.UUID(root_hash[:32]), uuid.UUID(root_hash[32:])
    return OsBuild(
        root=root,
        verity=verity,
        verity_signature=None,
        root_hash=root_hash,
        root_partition_uuid=str(halves[0]),
        verity_partition_uuid=str(halves[1]),
        uki=uki,
        command_line=parts.command_line,
        kernel_version=parts.kernel_version,
        systemd_version=package_version(manifest.read_text(), "systemd"),
        mkosi_version=context.tools.run(["mkosi", "--version"]).decode().split()[-1],
        package_manifest=manifest,
        trusted_base=trusted_base,
        executables=executables,
    )


def _write_trusted_base(
    tree: RootTree, initrd: Sequence[Entry], config: OsConfig, manifest: Path, target: Path
) -> None:
    packages = len(json.loads(manifest.read_text())["packages"])
    sources = "".join(path.read_text() for path in sorted(PROGRAMS.iterdir()))
    measured = measure(tree, initrd, config.firewall, packages, sources)
    target.write_text(json.dumps(measured, indent=1) + "\n")


def _take_partitions(context: Context, made: Path, output: Path) -> tuple[Path, Path, str]:
    """Move root and hash tree to the output; the root hash, checked over all of the root."""
    root, verity = output / "root.raw", output / "root-verity.raw"
    shutil.move(made / f"{IMAGE_ID}.root-x86-64.raw", root)
    shutil.move(made / f"{IMAGE_ID}.root-x86-64-verity.raw", verity)
    table = context.tools.run(["sfdisk", "--json", made / f"{IMAGE_ID}.raw"], binds=[made]).decode()
    root_hash = root_hash_of(table)
    with context.progress.step("root hash"):
        context.tools.run(["veritysetup", "verify", root, verity, root_hash], binds=[output])
    return root, verity, root_hash


def _boot_parts(
    tree: RootTree, context: Context, made: Path, root_hash: str, config: OsConfig
) -> tuple[UkiParts, list[Entry]]:
    """The UKI's sections: what mkosi.finalize exported, and the initrd, with what is in it."""
    os_release, initrd, kernel = made / "os-release", made / "initrd", made / "vmlinuz"
    os_release.write_bytes(tree.read("/usr/lib/os-release"))
    words = (*parse_list((DEFINITIONS / "command-line.txt").read_text()), *config.extra_command_line)
    scratch, policies = made / "initrd-work", made / "policies"
    for folder in (scratch, policies):
        folder.mkdir()
    with context.progress.step("policies"):
        added = initrd_additions(DEFINITIONS, kernel, root_hash, words, config=config, context=context, work=policies)
    with context.progress.step("initrd"):
        lists = InitrdLists.load(DEFINITIONS / "initrd")
        entries = build_initrd(tree, lists, added, context.tools, work=scratch, output=initrd, epoch=context.epoch)
    parts = UkiParts(
        kernel=kernel,
        kernel_version=kernel_version(tree),
        initrd=initrd,
        stub=made / "linux.efi.stub",
        os_release=os_release,
        command_line=command_line(root_hash, words),
    )
    return parts, entries


def mkosi_argv(config: OsConfig, folders: MkosiFolders, epoch: int) -> list[str]:
    """The mkosi call; everything else stands in image/mkosi."""
    argv = [
        "mkosi",
        f"--output={IMAGE_ID}",
        f"--image-id={config.product}",
        f"--image-version={config.version}",
        f"--source-date-epoch={epoch}",
        f"--output-directory={folders.output}",
        f"--package-cache-dir={folders.packages}",
        f"--cache-directory={folders.trees}",
        f"--workspace-directory={folders.workspace}",
        f"--sandbox-tree={folders.sandbox}",
        f"--extra-tree={folders.extra}",
    ]
    argv += [f"--package={package}" for package in os_packages(config.packages)]
    if config.extra_tree is not None:
        argv.append(f"--extra-tree={config.extra_tree}")
    return [*argv, "--force", "build"]


def os_packages(packages: Sequence[str]) -> list[str]:
    """The product's packages, with a kernel."""
    has_kernel = any(package.startswith("linux-image-") for package in packages)
    return sorted({*packages, *(() if has_kernel else (DEFAULT_KERNEL,))})


def stage_apt_sources(config: OsConfig, context: Context, sandbox: Path) -> None:
    """mkosi's own default sources name a mirror of their own, and a debug archive that few mirrors carry."""
    listing = (context.cache / "tools-root/etc/apt/sources.list").read_text()
    target = sandbox / "etc/apt/sources.list.d/mkosi.sources"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(debian_sources(listing, config.mirror))


def stage_extra_tree(config: OsConfig, extra: Path) -> None:
    """What the box imports of our packages, the engine, the firewall, the files that tie the image to its service."""
    modules = box_modules(config.python_packages, programs(DEFINITIONS)) if config.python_packages else frozenset()
    useless = shutil.ignore_patterns("__pycache__", "*.egg-info", "py.typed")

    def ignored(folder: str, names: list[str]) -> set[str]:
        unused = {name for name in names if name.endswith(".py") and Path(folder) / name not in modules}
        return useless(folder, names) | unused

    for package in config.python_packages:
        shutil.copytree(package, extra / PYTHON_FOLDER / package.name, ignore=ignored)
    _remove_empty_folders(extra / PYTHON_FOLDER)
    engine = extra / ENGINE_PATH
    engine.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(config.engine, engine)
    engine.chmod(0o755)
    if config.vector_extension is not None:
        extension = extra / VECTOR_EXTENSION.lstrip("/")
        extension.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(config.vector_extension, extension)
        extension.chmod(0o644)
    (extra / FIREWALL_PATH).write_text(config.firewall)
    files = {f"{SHARED_FOLDER}/{name}": data for name, data in config.shared_files.items()}
    files |= {path.lstrip("/"): data for path, data in config.domain_files.items() if not is_profile(path)}
    for name, data in files.items():
        target = extra / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    for path in (extra / PYTHON_FOLDER).rglob("*.py"):
        path.chmod(0o644)


def _remove_empty_folders(top: Path) -> None:
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def check_executables(found: Sequence[str], config: OsConfig) -> tuple[str, ...]:
    """The root's executables, if they are exactly the allowed ones.

    Raises:
        OperationError: names each one too many and each one missing.
    """
    allowed = set(parse_list((DEFINITIONS / "executables.txt").read_text()))
    wrong = [f"{path} is not allowed" for path in sorted(set(found) - allowed)]
    wrong += [f"{path} is missing" for path in sorted(allowed - set(found))]
    if wrong:
        raise OperationError(
            f"The root of {config.product} does not hold exactly the allowed executables: {'; '.join(wrong)}.",
            cure="Change image/mkosi/executables.txt or the packages.",
        )
    return tuple(sorted(found))


def check_privileged(found: Sequence[str], config: OsConfig) -> None:
    """Nothing in the box may gain rights by being run.

    Raises:
        OperationError: names each setuid or setgid file.
    """
    if found:
        raise OperationError(f"The root of {config.product} holds setuid or setgid files: {', '.join(found)}.")


def root_hash_of(table: str) -> str:
    """The root hash, of which systemd-repart makes the two partition UUIDs, from ``sfdisk --json`` output."""
    partitions = json.loads(table)["partitiontable"]["partitions"]
    by_name = {partition["name"]: uuid.UUID(partition["uuid"]) for partition in partitions}
    return by_name["root"].hex + by_name["root-verity"].hex


def package_version(manifest: str, package: str) -> str:
    """Version of an installed package, from mkosi's manifest."""
    return str(next(entry["version"] for entry in json.loads(manifest)["packages"] if entry["name"] == package))


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """One build at a time in mkosi's caches."""
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
