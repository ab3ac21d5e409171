"""Whether a claim is of now: a copy of the disk from before it must not bring its secrets back.

The state volume's encryption knows no time: an older copy of it, or of some of its sectors, opens as well as the
present one. So the first boot notes where a counter of the TPM stands, the acknowledgement counts it up, or the first
unlock after it, and an unspent claim whose counter has moved on is erased before anything offers it. Not defended:
anything else on the state volume (SECURITY.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.claim import Claim
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.tpm_counters import increment_counter, read_counter
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document, NameHex, document_bytes, parse_json

FILE_LIMIT = 4096


class ClaimCounter(Document):
    """``claim-counter.json``: where the claim's counter stood when the claim was made."""

    version: Annotated[int, Field(ge=1, le=1)]
    name: NameHex
    """Its Name holds its index: no other counter, brought to the same value, stands for it."""
    value: Annotated[int, Field(ge=0, lt=2**64)]


def note_claim_counter(tpm: ProvisionedTpm, path: Path) -> None:
    """At the first boot, before the claim is made."""
    write_durably(path, document_bytes(_present(tpm)))


def is_of_now(noted: ClaimCounter | None, present: ClaimCounter) -> bool:
    """Whether a claim that was made at ``noted`` may be honoured; not if that is lost or damaged."""
    return noted == present


def settle_claim(tpm: ProvisionedTpm, claim: Claim, path: Path) -> bool:
    """Count up once behind a claim that is spent, and erase one that is from before; False if it was.

    Raises:
        FormatError: the claim is damaged, and so offers nothing.
        OperationError: from the TPM or the disk.
    """
    of_now = is_of_now(_load(path), _present(tpm))
    if claim.code() is None:
        if of_now:
            increment_counter(tpm.device, tpm.counters.claim)
        return True
    if not of_now:
        claim.spend()
    return of_now


def _present(tpm: ProvisionedTpm) -> ClaimCounter:
    counter = tpm.counters.claim
    return ClaimCounter(version=1, name=counter.name.hex(), value=read_counter(tpm.device, counter))


def _load(path: Path) -> ClaimCounter | None:
    content = read_file(path, FILE_LIMIT)
    try:
        return None if content is None else parse_json(ClaimCounter, content, limit=FILE_LIMIT)
    except FormatError:  # a sector of the encrypted volume was overwritten: that must not help
        return None
