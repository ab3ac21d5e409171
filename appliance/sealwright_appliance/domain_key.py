"""The domain key: what domains have on the state volume is not the customer's to read (policies/spec/domain-key.md).

It is drawn in the box and sealed in its TPM for releases of the vendor, as share B of a partition is. A blob on the
state volume is believed only if this TPM made it before PCR 15 was closed in a boot of such a release: whoever has the
recovery key could lay down another, whose key they know.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.payloads import UnsealRefusedError, release_authorization
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_appliance.tpm_unseal import (
    Creation,
    SealedObject,
    require_created_here,
    seal_with_creation,
    state_assertions,
    unseal,
)
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import FormatError, OperationError, VerificationError
from sealwright_policies.tcg.creation import was_created_at
from sealwright_policies.tcg.policy import policy_authorize
from sealwright_policies.wire.encoding import Bytes4K, Document, document_bytes, parse_json, pcr_bytes
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import domain_key_id, release_share_reference
from sealwright_policies.wire.messages import ReleaseApproval
from sealwright_policies.wire.release_approval import verify_release_approval

KEY_SIZE = 64
"""Bytes."""
LIMIT = 64 * 1024


class StoredDomainKey(Document):
    """The file ``domain-key.json`` of the state volume."""

    version: Annotated[int, Field(ge=1, le=1)]
    public: Bytes4K
    private: Bytes4K
    creation_data: Bytes4K
    """TPMS_CREATION_DATA."""
    creation_ticket: Bytes4K
    """TPMT_TK_CREATION."""
    made_in: ReleaseApproval
    """Of the boot that made it."""


def open_domain_key(
    file: Path,
    tpm: ProvisionedTpm,
    release: Release,
    approvals: Sequence[ReleaseApproval],
    *,
    srk_name: bytes,
    say: Callable[[str], None],
) -> bytes:
    """Unseal the domain key, 64 bytes; where there is none that was made for the release key, draw it.

    Args:
        file: on the state volume.
        approvals: of the domain key, by the release key.
        srk_name: of the box's storage key, as its lease has it.
        say: takes what the customer has to know.

    Raises:
        OperationError: the TPM does not unseal it, or has not made it.
    """
    try:
        pcrs, authorization = release_authorization(tpm, release, domain_key_id(), approvals)
        kept = _kept(file, release, say)
        stored = kept or _drawn(tpm, authorization.key.name, _approval_of(approvals, pcrs))
        sealed = SealedObject(stored.public, stored.private)
        require_created_here(tpm.device, tpm.srk, sealed, Creation(stored.creation_data, stored.creation_ticket))
        key = unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=srk_name)
        if kept is None:
            write_durably(file, document_bytes(stored))
    except UnsealRefusedError as refused:
        raise OperationError(refused.obstacles[0].sentence) from None
    except (FormatError, VerificationError, TpmError) as error:
        raise OperationError(f"The domain key does not open: {error}") from None
    return key


def _kept(file: Path, release: Release, say: Callable[[str], None]) -> StoredDomainKey | None:
    """What is there, if it says that it was made for this release key; otherwise it is put aside."""
    content = read_file(file, LIMIT)
    if content is None:
        return None
    try:
        stored = parse_json(StoredDomainKey, content, limit=LIMIT)
        _require_approved(release, stored)
    except (FormatError, VerificationError) as error:
        aside = file.with_name(f"{file.stem}.aside-{os.urandom(4).hex()}{file.suffix}")
        try:
            file.rename(aside)
        except OSError as refused:
            raise OperationError(f"{file} cannot be put aside: {refused.strerror}.") from None
        say(f"domains: {file.name} is not used, and another key is drawn: {error} It is {aside.name} now.")
        return None
    return stored


def _drawn(tpm: ProvisionedTpm, release_key: bytes, approval: ReleaseApproval) -> StoredDomainKey:
    key = hashlib.sha512(tpm.device.random(KEY_SIZE) + os.urandom(KEY_SIZE)).digest()
    policy = policy_authorize(release_key, release_share_reference(domain_key_id()))
    sealed, creation = seal_with_creation(tpm.device, tpm.srk, key, policy, pcr_bytes(approval.pcrs))
    return StoredDomainKey(
        version=1,
        public=sealed.public_2b,
        private=sealed.private_2b,
        creation_data=creation.data,
        creation_ticket=creation.ticket,
        made_in=approval,
    )


def _approval_of(approvals: Sequence[ReleaseApproval], pcrs: dict[int, bytes]) -> ReleaseApproval:
    return next(one for one in approvals if pcr_bytes(one.pcrs) == pcrs)


def _require_approved(release: Release, stored: StoredDomainKey) -> None:
    """Demand that it says that it was made at the unseal point of a release that the release key had approved.

    Raises:
        VerificationError: no such release.
        FormatError: made elsewhere.
    """
    verify_release_approval(stored.made_in, load_p256_public_key(release.manifest.release_key))
    if stored.made_in.partition_id != domain_key_id().hex():
        raise FormatError("Its approval is of something else.")
    if not was_created_at(stored.creation_data, pcr_bytes(stored.made_in.pcrs)):
        raise FormatError("It was not made at the unseal point of a release.")
