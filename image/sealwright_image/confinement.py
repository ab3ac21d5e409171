"""What confines the box from its first program on, and is not in the root: the initrd's /init and the policies that
process 1 gives to the kernel.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from sealwright_image import cpio
from sealwright_image.apparmor import compile_profiles, kernel_features
from sealwright_image.compiler import compile_freestanding
from sealwright_image.context import Context
from sealwright_image.ipe import POLICY_FILE, signed_policy
from sealwright_image.os_build import SecureBootSigner

POLICIES = Path(__file__).resolve().parents[2] / "policies" / "lsm"
"""Hand-written policies of the source checkout."""
APPARMOR_PROFILES = POLICIES / "apparmor"


def initrd_additions(
    definitions: Path,
    kernel: Path,
    root_hash: str,
    words: Sequence[str],
    *,
    signer: SecureBootSigner,
    context: Context,
    work: Path,
) -> list[cpio.Entry]:
    """Entries for the initrd.

    Args:
        definitions: image/mkosi.
        kernel: vmlinuz, asked for its AppArmor features.
        root_hash: 64 hex digits.
        words: Of the command line, with the list of LSMs among them.
        signer: The db key.
        context: The run.
        work: An empty scratch folder.
    """
    init = work / "init"
    compile_freestanding(definitions / "initrd/init.c", init, context.tools)
    lsm = next(word for word in words if word.startswith("lsm="))
    program = definitions / "apparmor/features.c"
    features = kernel_features(kernel, program, lsm, tools=context.tools, work=work, epoch=context.epoch)
    return [
        cpio.Entry("init", stat.S_IFREG | 0o755, init.read_bytes()),
        cpio.Entry(POLICY_FILE, stat.S_IFREG | 0o644, signed_policy(root_hash, signer, context.tools)),
        *compile_profiles(features, APPARMOR_PROFILES, context.tools, work),
    ]
