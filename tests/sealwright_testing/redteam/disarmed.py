"""The control boot: kernel, root and planted payload of the test image, without what the box does to its kernel.

Whoever has the machine can start any kernel with any command line; the TPM then opens nothing. Here it shows that what
is refused to root in a box is not refused for another reason: no filter of system calls, no lockdown, no Yama, no code
policy, all capabilities, no packet filter, modules. AppArmor, file modes and name spaces of units are not its matter.
"""

from __future__ import annotations

import dataclasses
import shutil
import stat
from pathlib import Path

from sealwright_image import cpio
from sealwright_image.compiler import compile_freestanding
from sealwright_image.run import Tools
from sealwright_policies.appraisal.pe import uki_sections
from sealwright_testing.machine import Machine

DEFENCES = ("lockdown=", "module.sig_enforce=", "sysctl.", "ipe.")
WITHOUT = ("ipe.enforce=0", "planted.disarmed")
SOURCE = Path(__file__).with_name("disarm.c")
HEADER = Path(__file__).resolve().parents[3] / "image/mkosi/programs/freestanding.h"


def disarmed_words(command_line: str) -> list[str]:
    """The words of a command line that are no defence of the kernel, and those that switch others off."""
    return [word for word in command_line.split() if not word.startswith(DEFENCES)] + list(WITHOUT)


def disarmed(machine: Machine, image: Path, folder: Path) -> Machine:
    """The machine with kernel and initrd of a test image started by QEMU itself.

    Args:
        image: The build's output folder.
        folder: For kernel and initrd.
    """
    sections = uki_sections((image / "uki.efi").read_bytes())
    init, kernel, initrd = folder / "init", folder / "vmlinuz", folder / "initrd"
    kernel.write_bytes(sections[".linux"])
    for part in (SOURCE, HEADER):
        shutil.copy(part, folder)
    compile_freestanding(folder / SOURCE.name, init, Tools())
    entry = cpio.Entry("init", stat.S_IFREG | 0o755, init.read_bytes())
    # The kernel unpacks one archive after the other; the later file stays.
    packed = sections[".initrd"]
    initrd.write_bytes(packed + bytes(-len(packed) % 4) + b"".join(cpio.archive([entry], 0)))
    words = disarmed_words(sections[".cmdline"].rstrip(b"\0").decode("ascii"))
    started = ("-kernel", str(kernel), "-initrd", str(initrd), "-append", " ".join(words))
    return dataclasses.replace(machine, extra=(*machine.extra, *started))
