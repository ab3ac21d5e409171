"""Where a TPM has made an object: what its creation data say of the PCRs (TPM 2.0 Library, Part 2, 15).

The data alone prove nothing; that they are an object's is for its TPM to say (TPM2_CertifyCreation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sealwright_policies.tcg.pcr import selection_bytes
from sealwright_policies.tcg.reader import sized_2b


def was_created_at(creation_data: bytes, pcrs: Mapping[int, bytes]) -> bool:
    """Whether a TPMS_CREATION_DATA of a SHA-256 object names these PCRs of the SHA-256 bank, with these values.

    It begins with pcrSelect and pcrDigest, the digest over the values in the order of their numbers.
    """
    values = b"".join(pcrs[pcr] for pcr in sorted(pcrs))
    return creation_data.startswith(selection_bytes(pcrs) + sized_2b(hashlib.sha256(values).digest()))
