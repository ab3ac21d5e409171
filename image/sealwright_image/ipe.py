"""The signature of the IPE policy, whose text is :mod:`sealwright_policies.domains.compiler.ipe`'s.

It is by the Secure Boot db key, which the kernel trusts for it (CONFIG_IPE_POLICY_SIG_PLATFORM_KEYRING), and nobody can
take the policy's place: process 1 gives up CAP_MAC_ADMIN.
"""

from __future__ import annotations

from sealwright_image.os_build import SecureBootSigner
from sealwright_image.run import Tools
from sealwright_policies.domains.compiler.ipe import POLICY_NAME

POLICY_FILE = f"usr/lib/ipe/{POLICY_NAME}.p7b"
"""Where systemd looks; the file's name must be the policy's."""


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
