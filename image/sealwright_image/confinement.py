"""What confines the box from its first program on, and is not in the root: the initrd's /init and the policies that
process 1 gives to the kernel.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from sealwright_image import cpio
from sealwright_image.apparmor import compile_profiles, kernel_features
from sealwright_image.compiler import compile_freestanding
from sealwright_image.context import Context
from sealwright_image.ipe import POLICY_FILE, signed_policy
from sealwright_image.os_build import OsConfig
from sealwright_policies.domains.compiler import PROFILES
from sealwright_policies.domains.compiler.ipe import policy_text

POLICIES = Path(__file__).resolve().parents[2] / "policies" / "lsm"
"""Hand-written policies of the source checkout: of all units but the engines."""
APPARMOR_PROFILES = POLICIES / "apparmor"


def initrd_additions(
    definitions: Path,
    kernel: Path,
    root_hash: str,
    words: Sequence[str],
    *,
    config: OsConfig,
    context: Context,
    work: Path,
) -> list[cpio.Entry]:
    """Entries for the initrd.

    Args:
        definitions: image/mkosi.
        kernel: vmlinuz, asked for its AppArmor features.
        root_hash: 64 hex digits.
        words: Of the command line, with the list of LSMs among them.
        config: With the db key, and the profiles of engines and workloads.
        context: The run.
        work: An empty scratch folder.
    """
    init = work / "init"
    compile_freestanding(definitions / "programs/init.c", init, context.tools)
    lsm = next(word for word in words if word.startswith("lsm="))
    program = definitions / "apparmor/features.c"
    features = kernel_features(kernel, program, lsm, tools=context.tools, work=work, epoch=context.epoch)
    policy = policy_text(root_hash, config.workload_root_hashes)
    return [
        cpio.Entry("init", stat.S_IFREG | 0o755, init.read_bytes()),
        cpio.Entry(POLICY_FILE, stat.S_IFREG | 0o644, signed_policy(policy, config.signer, context.tools)),
        *compile_profiles(features, stage_profiles(config.domain_files, work), context.tools, work),
    ]


def is_profile(path: str) -> bool:
    """Whether a file that domains compile to is an AppArmor profile."""
    return path.startswith(f"{PROFILES}/")


def stage_profiles(domain_files: Mapping[str, bytes], work: Path) -> Path:
    """One folder with the profiles of units that every box has, and what the domains compile to."""
    folder = work / "profiles"
    shutil.copytree(APPARMOR_PROFILES, folder)
    for path, text in domain_files.items():
        if is_profile(path):
            (folder / Path(path).name).write_bytes(text)
    return folder
