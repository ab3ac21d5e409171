"""The initrd: files picked from the finished root by the lists in image/mkosi/initrd, packed reproducibly.

Picking, rather than building a second image, keeps one systemd version in stub, initrd and root, and leaves no shell,
no login and no program that is not on a list. What is picked: the listed files, the targets of their links, the
libraries of their ELF files, .wants links between listed units, and the listed kernel modules with their dependencies.
"""

from __future__ import annotations

import lzma
import posixpath
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sealwright_image import cpio
from sealwright_image.elf import is_elf, parse_needed
from sealwright_image.lists import parse_list
from sealwright_image.root_tree import RootTree
from sealwright_image.run import Tools
from sealwright_policies.errors import OperationError

LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/systemd")
MODULES_ROOT = "/usr/lib/modules"
EMPTY_FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "sysroot", "tmp", "usr", "var")
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
DEPMOD_INPUTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
DEPMOD_OUTPUTS = (
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols.bin",
)
ZSTD_LEVEL = 12
"""Level 19 takes ten times as long for a tenth of the size, which is worth 0.2 s of an emulated boot."""


@dataclass(frozen=True, slots=True)
class InitrdLists:
    """The lists of image/mkosi/initrd."""

    files: tuple[str, ...]
    libraries: tuple[str, ...]
    modules: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> InitrdLists:
        def read(name: str) -> tuple[str, ...]:
            return parse_list((folder / name).read_text())

        return cls(read("files.txt"), read("libraries.txt"), read("modules.txt"))


def build_initrd(
    tree: RootTree,
    lists: InitrdLists,
    additions: Iterable[cpio.Entry],
    tools: Tools,
    *,
    work: Path,
    output: Path,
    epoch: int,
) -> list[cpio.Entry]:
    """Write the zstd-compressed initrd to ``output``; all that is in it.

    Args:
        tree: The root.
        lists: What to pick from it.
        additions: What is not in it: /init and the policies of the kernel.
        tools: The tools root.
        work: An empty scratch folder.
        output: The file.
        epoch: Time stamp of every file in it.
    """
    paths = select_files(tree, lists)
    version = kernel_version(tree)
    entries = [entry_of(tree, path) for path in sorted(paths)]
    entries += fixed_entries(tree)
    entries += additions
    entries += module_entries(tree, version, lists.modules, tools, work)
    packed = cpio.with_parents(entries)
    plain = work / "initrd.cpio"
    with plain.open("wb") as stream:
        for piece in cpio.archive(packed, epoch):
            stream.write(piece)
    # The thread count is part of zstd's output: fixed, not that of the host.
    tools.run(
        ["zstd", f"-{ZSTD_LEVEL}", "--threads=2", "--force", "--quiet", plain, "-o", output],
        binds=[work, output.parent],
    )
    return packed


def kernel_version(tree: RootTree) -> str:
    """The one kernel of the root.

    Raises:
        OperationError: none, or more than one.
    """
    versions = {path.split("/")[4] for path in tree.members if path.startswith(MODULES_ROOT + "/")}
    if len(versions) != 1:
        raise OperationError(f"The root must hold one kernel, and holds {sorted(versions)}.")
    return versions.pop()


def select_files(tree: RootTree, lists: InitrdLists) -> set[str]:
    """Listed files and all that they need, kernel modules apart."""
    chosen: set[str] = set()
    units = {posixpath.basename(path) for path in tree.match(lists.files)}
    wants = [path for path in tree.members if _is_wish(path, units)]
    pending = tree.match(lists.files) + wants + [_library(tree, name) for name in lists.libraries]
    while pending:
        path = pending.pop()
        if path in chosen:
            continue
        chosen.add(path)
        pending += _needs(tree, path)
    return chosen


def _is_wish(path: str, units: set[str]) -> bool:
    """A link below UNIT.wants where both ends are listed, in the packages' own folder."""
    folder, name = posixpath.split(path)
    owner, suffix = posixpath.splitext(posixpath.basename(folder))
    inside = posixpath.dirname(folder) == "/usr/lib/systemd/system"
    return inside and suffix in (".wants", ".requires") and owner in units and name in units


def _needs(tree: RootTree, path: str) -> Iterable[str]:
    if tree.members[path].issym():
        target = tree.resolve(path)
        return [target] if target and target != path else []
    data = tree.read(path)
    return [_library(tree, name) for name in parse_needed(data)] if is_elf(data) else []


def _library(tree: RootTree, name: str) -> str:
    for folder in LIBRARY_FOLDERS:
        path = f"{folder}/{name}"
        if path in tree.members:
            return path
    raise OperationError(f"The root has no {name}, which the initrd needs.")


def entry_of(tree: RootTree, path: str) -> cpio.Entry:
    """A file or link of the root as an archive entry."""
    member = tree.members[path]
    if member.issym():
        return cpio.link(path[1:], member.linkname)
    return cpio.Entry(path[1:], stat.S_IFREG | (member.mode & 0o755), tree.read(path))


def fixed_entries(tree: RootTree) -> list[cpio.Entry]:
    """What makes it an initrd: /etc/initrd-release, merged folders, the loader's path, mount points."""
    release = tree.read("/usr/lib/os-release")
    return [
        *(cpio.directory(name) for name in EMPTY_FOLDERS),
        *(cpio.link(name, target) for name, target in MERGED.items()),
        cpio.link("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        cpio.Entry("etc/initrd-release", stat.S_IFREG | 0o644, release),
        cpio.Entry("etc/machine-id", stat.S_IFREG | 0o444, b""),
    ]


def module_entries(tree: RootTree, version: str, names: Iterable[str], tools: Tools, work: Path) -> list[cpio.Entry]:
    """Kernel modules, decompressed (the initrd is compressed as a whole), and depmod's index over just these."""
    base = f"{MODULES_ROOT}/{version}"
    contents: dict[str, bytes] = {}
    dependencies = parse_modules_dep(tree.read(f"{base}/modules.dep").decode())
    for path in select_modules(dependencies, names):
        data = tree.read(f"{base}/{path}")
        contents[path.removesuffix(".xz")] = lzma.decompress(data) if path.endswith(".xz") else data
    for name in DEPMOD_INPUTS:
        contents[name] = tree.read(f"{base}/{name}")
    folder = work / "modules" / base[1:]
    for name, data in contents.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (work / "modules/lib").symlink_to("usr/lib")
    tools.run(["depmod", "--basedir", work / "modules", version], binds=[work])
    for name in DEPMOD_OUTPUTS:
        contents[name] = (folder / name).read_bytes()
    return [
        cpio.Entry(f"{base[1:]}/{name}", stat.S_IFREG | 0o644, contents[name])
        for name in sorted(contents)
        if name not in DEPMOD_INPUTS
    ]


def parse_modules_dep(text: str) -> dict[str, list[str]]:
    """modules.dep: each module's path and the paths of all it depends on, directly or not."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {path: rest.split() for path, _, rest in pairs}


def select_modules(dependencies: Mapping[str, list[str]], names: Iterable[str]) -> list[str]:
    """Paths of the named modules and their dependencies, sorted; names that the kernel package lacks are built in."""
    by_name = {module_name(path): path for path in dependencies}
    chosen: set[str] = set()
    for name in names:
        if path := by_name.get(name):
            chosen |= {path, *dependencies[path]}
    return sorted(chosen)


def module_name(path: str) -> str:
    """The kernel's name for a module file."""
    return posixpath.basename(path).split(".ko")[0].replace("-", "_")
