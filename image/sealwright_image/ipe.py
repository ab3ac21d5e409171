"""The IPE policy: the kernel runs code from the initrd, the one verity root and listed workload images, and no other.

Text: Documentation/admin-guide/LSM/ipe.rst of the kernel. Process 1 loads it from the initrd, since a policy that names
the root hash cannot lie in that root. It is signed by the Secure Boot db key, which the kernel trusts for it
(CONFIG_IPE_POLICY_SIG_PLATFORM_KEYRING), and nobody can take its place: process 1 gives up CAP_MAC_ADMIN.

It does not see what an interpreter reads. It denies all executable memory that no file of the root stands behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealwright_image.os_build import SecureBootSigner
from sealwright_image.run import Tools

POLICY_NAME = "sealwright"
POLICY_FILE = f"usr/lib/ipe/{POLICY_NAME}.p7b"
"""Where systemd looks; the file's name must be the policy's."""
OPERATIONS = ("EXECUTE", "FIRMWARE", "KMODULE", "POLICY", "X509_CERT")
"""What initrd and root may give. KEXEC_IMAGE and KEXEC_INITRAMFS are left to the default: nobody may."""


def policy_text(root_hash: str, workloads: Sequence[str] = ()) -> str:
    """The policy for a root.

    Args:
        root_hash: of SHA-256, 64 hex digits.
        workloads: root hashes of workload images, which may be executed and nothing else.
    """
    lines = [f"policy_name={POLICY_NAME} policy_version=1.0.0", "DEFAULT action=DENY"]
    for operation in OPERATIONS:
        lines.append(f"op={operation} boot_verified=TRUE action=ALLOW")
        lines.append(f"op={operation} dmverity_roothash=sha256:{root_hash} action=ALLOW")
    lines += [f"op=EXECUTE dmverity_roothash=sha256:{one} action=ALLOW" for one in sorted(workloads)]
    return "\n".join(lines) + "\n"


def sign_argv(signer: SecureBootSigner) -> list[str]:
    """Standard input to PKCS #7 with the content inside; without attributes, so without a time."""
    return [
        *("openssl", "smime", "-sign", "-binary", "-noattr", "-nodetach", "-nosmimecap", "-nocerts"),
        *("-md", "sha256", "-outform", "der", "-inkey", str(signer.key), "-signer", str(signer.certificate)),
    ]


def signed_policy(text: str, signer: SecureBootSigner, tools: Tools) -> bytes:
    """A policy, signed; DER."""
    binds = sorted({signer.key.parent, signer.certificate.parent})
    return tools.run(sign_argv(signer), binds=binds, stdin=text.encode("ascii"))
