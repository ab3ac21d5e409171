"""The box's IPE policy: what may be executed or loaded (Linux, Documentation/admin-guide/LSM/ipe.rst).

Code comes from the initrd, from the one verity root, and from the images of workloads that domains let run; models and
data sets are none. The build signs the policy, and process 1 loads it from the initrd, since a policy that names the
root hash cannot lie in that root.

It does not see what an interpreter reads. It denies all executable memory that no file of these stands behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.model import MemberKind
from sealwright_policies.errors import UsageError

POLICY_NAME: Final = "sealwright"
POLICY_VERSION: Final = "1.0.0"
"""IPE compares it only when a running system replaces a policy, which ours never does."""
OPERATIONS: Final = ("EXECUTE", "FIRMWARE", "KMODULE", "POLICY", "X509_CERT")
"""What initrd and root may give. KEXEC_IMAGE and KEXEC_INITRAMFS are left to the default: nobody may."""
UNKNOWN_ROOT: Final = "ROOT-HASH"
"""In the place of a root that is not built yet; no kernel takes it."""


def policy_text(root_hash: str, workloads: Iterable[str] = ()) -> str:
    """The policy of a root.

    Args:
        root_hash: of SHA-256, 64 hex digits.
        workloads: root hashes of workload images, which may be executed and nothing else.
    """
    lines = [f"policy_name={POLICY_NAME} policy_version={POLICY_VERSION}", "DEFAULT action=DENY"]
    for operation in OPERATIONS:
        lines.append(f"op={operation} boot_verified=TRUE action=ALLOW")
        lines.append(f"op={operation} dmverity_roothash=sha256:{root_hash} action=ALLOW")
    lines += [f"op=EXECUTE dmverity_roothash=sha256:{one} action=ALLOW" for one in sorted(workloads)]
    return "\n".join(lines) + "\n"


def policy(domains: Domains, workload_root_hashes: Mapping[str, str], root_hash: str = UNKNOWN_ROOT) -> str:
    """The policy of a box with these domains.

    Args:
        domains: all of the product.
        workload_root_hashes: verity root hash (SHA-256, hexadecimal) of each workload's image, by payload id.
        root_hash: likewise of its root.

    Raises:
        UsageError: a workload that may run has no root hash, or one is given for a workload that may not.
    """
    running = {
        member.id
        for source in domains
        for member in source.domain.members(MemberKind.WORKLOAD)
        if member.id in source.domain.run.workloads
    }
    if running != set(workload_root_hashes):
        raise UsageError(
            f"the domains let {', '.join(sorted(running)) or 'no workload'} run,"
            f" and root hashes are given of {', '.join(sorted(workload_root_hashes)) or 'none'}."
        )
    return policy_text(root_hash, workload_root_hashes.values())
