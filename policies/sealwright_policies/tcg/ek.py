"""The Endorsement Key: the listed templates, and the check that a public area has one of them.

Templates L-1, L-2, H-1 and H-2 of the TCG EK Credential Profile for TPM Family 2.0, 2.5 (annex B.3.3, B.3.4, B.4.4,
B.4.5): RSA-2048 and P-256, low and high range. The device id is a hash of the whole area, and the certificate covers
nothing in it but the key: an area that may differ elsewhere would give one TPM as many device ids as it likes.
"""

from __future__ import annotations

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.public import Public
from sealwright_policies.tcg.reader import sized_2b

_POLICY_A = "0020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
"""PolicySecret(TPM_RH_ENDORSEMENT)."""
_POLICY_B = "0020ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0"
"""That, or a policy in an NV index."""
_AES_128_CFB = "000600800043"
_RSA_2048, _P256 = "0010080000000000", "001000030010"

_HEADS = tuple(
    (bytes.fromhex(key + "000b" + attributes + policy + _AES_128_CFB + parameters), unique_sizes)
    for attributes, policy in (("000300b2", _POLICY_A), ("000300f2", _POLICY_B))
    for key, parameters, unique_sizes in (("0001", _RSA_2048, (256,)), ("0023", _P256, (32, 32)))
)
"""Everything before ``unique``, and the bytes in each part of that."""


def check_ek(public: Public) -> None:
    """Demand that a public area is byte-equal to a listed template in everything but ``unique``.

    Raises:
        VerificationError: EK_KEY_MISMATCH.
    """
    unique = b"".join(sized_2b(part) for part in public.unique)
    sizes = tuple(len(part) for part in public.unique)
    if not any(public.area == head + unique and sizes == expected for head, expected in _HEADS):
        raise VerificationError(
            RejectionCode.EK_KEY_MISMATCH,
            "the EK public area has none of the listed templates (RSA-2048 or P-256, low or high range)",
        )
