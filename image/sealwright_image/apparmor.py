"""AppArmor profiles, compiled at build time for process 1 to load (systemd's early policy).

The box has no parser, and gives up CAP_MAC_ADMIN before anything but process 1 runs. libapparmor looks for compiled
profiles in a folder named by a digest of the kernel's features, so the build asks the very kernel: it boots for a
second in QEMU, with a program that prints them as its only process.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from sealwright_image import cpio
from sealwright_image.compiler import compile_static
from sealwright_image.run import Tools
from sealwright_policies.errors import OperationError

EARLY_POLICY = "etc/apparmor/earlypolicy"
"""Where process 1 looks (systemd, src/core/apparmor-setup.c)."""
END = "features end"


def kernel_features(kernel: Path, program: Path, lsm: str, *, tools: Tools, work: Path, epoch: int) -> dict[str, bytes]:
    """What a kernel says under /sys/kernel/security/apparmor/features, by relative path.

    Args:
        kernel: vmlinuz.
        program: Source of the program that prints them.
        lsm: Word of the command line that switches AppArmor on.
        tools: The tools root.
        work: Scratch folder.
        epoch: Time stamp in the archive.
    """
    compiled, initrd = work / "features", work / "features.cpio"
    compile_static(program, compiled, tools)
    entry = cpio.Entry("init", stat.S_IFREG | 0o755, compiled.read_bytes())
    console = cpio.Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    initrd.write_bytes(b"".join(cpio.archive(cpio.with_parents([entry, console]), epoch)))
    printed = tools.run(qemu_argv(kernel, initrd, lsm), binds=[kernel.parent, work])
    return parse_features(printed.decode("utf-8", "replace"))


def qemu_argv(kernel: Path, initrd: Path, lsm: str) -> list[str]:
    """Boot a kernel straight, without firmware or disk, in emulation: every build host can."""
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", f"console=ttyS0 quiet panic=-1 {lsm}"),
    ]


def parse_features(printed: str) -> dict[str, bytes]:
    """The lines of the program.

    Raises:
        OperationError: the kernel did not come to the end of them.
    """
    lines = printed.splitlines()
    if END not in lines:
        raise OperationError(f"The kernel did not say which AppArmor features it has: {' '.join(lines[-3:])}")
    words = [line.split() for line in lines if line.startswith("feature ")]
    return {path: bytes.fromhex(text) for _, path, text in words}


def compile_profiles(features: dict[str, bytes], profiles: Path, tools: Tools, work: Path) -> Iterator[cpio.Entry]:
    """Compile every profile of a folder; entries for the initrd.

    Args:
        features: of the kernel (:func:`kernel_features`).
        profiles: A file each; what they include is in ``common`` below.
        tools: The tools root.
        work: Scratch folder.
    """
    for path, text in features.items():
        target = work / "apparmor-features" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
    cache = work / "earlypolicy"
    cache.mkdir()
    sources = sorted(path for path in profiles.iterdir() if path.is_file())
    tools.run(parser_argv(work / "apparmor-features", profiles, cache, sources), binds=[profiles, work])
    for made in sorted(cache.rglob("*")):
        if made.is_file():
            name = f"{EARLY_POLICY}/{made.relative_to(cache)}"
            yield cpio.Entry(name, stat.S_IFREG | 0o644, made.read_bytes())


def parser_argv(features: Path, profiles: Path, cache: Path, sources: list[Path]) -> list[str]:
    """Compile into ``cache`` and load nothing. A warning is an error: it tells of a rule that does not hold."""
    return [
        *("apparmor_parser", "--config-file", "/dev/null", "--jobs=1", "--Werror"),
        *("--features-file", str(features), "--base", str(profiles), "--Include", str(profiles / "common")),
        *("--skip-kernel-load", "--skip-read-cache", "--write-cache", "--cache-loc", str(cache)),
        *map(str, sources),
    ]
