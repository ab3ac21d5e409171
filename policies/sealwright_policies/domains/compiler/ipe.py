"""The box's IPE policy: what may be executed or loaded (Linux, Documentation/admin-guide/LSM/ipe.rst).

Executable is what the initrd holds, what the verity root holds, whose root hash the kernel has verified a signature of,
and the images of workloads by root hash. Models and data sets are not: their verity trees have no signature that the
kernel knows. The policy is signed by the build and loaded by process 1 from the initrd.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.model import MemberKind
from sealwright_policies.errors import UsageError

POLICY_NAME: Final = "sealwright"
POLICY_VERSION: Final = "0.0.1"
"""IPE compares it only when a running system replaces a policy, which ours never does."""
OPERATIONS: Final = ("EXECUTE", "KMODULE", "FIRMWARE", "POLICY")
"""For the verity root. KEXEC_IMAGE, KEXEC_INITRAMFS and X509_CERT are left to the default."""


def policy(domains: Domains, workload_root_hashes: Mapping[str, str]) -> str:
    """Text of the policy.

    Args:
        domains: all of the product.
        workload_root_hashes: verity root hash (SHA-256, hexadecimal) of each workload's image, by payload id.

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
    lines = [f"policy_name={POLICY_NAME} policy_version={POLICY_VERSION}", "DEFAULT action=DENY"]
    for operation in OPERATIONS:
        lines.append(f"op={operation} boot_verified=TRUE action=ALLOW")
        lines.append(f"op={operation} dmverity_signature=TRUE action=ALLOW")
    for workload in sorted(running):
        lines.append(f"op=EXECUTE dmverity_roothash=sha256:{workload_root_hashes[workload]} action=ALLOW")
    return "\n".join(lines) + "\n"
