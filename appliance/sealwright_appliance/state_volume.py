"""The state volume: everything the box must remember, under a key that only a state approved by the customer opens.

LUKS2 on a disk that anybody can write to. Its key is drawn here at the first boot and sealed in the TPM under
PolicyAuthorize(customer key, "sealwright/v1/state"), together with the SHA-256 of the header (:mod:`.state_header`).
What is sealed lies in the binding record (:mod:`.binding`). Only a blank disk is formatted; formatting repairs nothing.

Layout: docs/the-box.md, The disk. Order of the first boot: policies/spec/binding.md, 3.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_appliance.binding import StateBinding, load_binding, store_binding
from sealwright_appliance.state_header import StateVolumeError, complete_header, is_blank, make_header
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_appliance.tpm_unseal import Authorization, SealedObject, seal, state_assertions, unseal
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.policy import external_signing_key, policy_authorize
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import state_reference
from sealwright_policies.wire.state_approval import StateApproval, approve_release, state_policy

KEY_SIZE = 64
"""Bytes of the passphrase in the first key slot."""
RECOVERY_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RECOVERY_GROUPS, RECOVERY_GROUP_SIZE = 8, 5


@dataclass(frozen=True, slots=True)
class FirstBootSecrets:
    """What the first boot drew for the customer; kept on the state volume until the claim."""

    customer_key_pem: str = field(repr=False)
    recovery_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnsealedState:
    """What the sealed object holds."""

    passphrase: bytes = field(repr=False)
    header_sha256: bytes


@dataclass(frozen=True, slots=True)
class DrawnState:
    """A state volume as the first boot draws it; nothing of it is on a disk yet."""

    secrets: FirstBootSecrets
    header: bytes = field(repr=False)
    binding: StateBinding
    unsealed: UnsealedState
    """What was sealed."""


def load_bound_state(device: Path, binding: Path) -> StateBinding | None:
    """The binding record; None at the first boot, when nothing has been written to either partition.

    Raises:
        StateVolumeError: the state volume was used and its record is gone.
        FormatError, OperationError: the record cannot be read.
    """
    bound = load_binding(binding)
    if bound is None and not is_blank(device):
        raise StateVolumeError(
            "The sealed key of the state volume is gone from the binding partition.",
            cure="Open the volume with the recovery key on another machine, or install the box anew.",
        )
    return bound


def draw_state(tpm: ProvisionedTpm, release: Release, header_file: Path) -> DrawnState:
    """First boot: draw the keys, make the header, seal key and header digest.

    Args:
        header_file: a path on a tmpfs, in which the header is made.
    """
    passphrase = hashlib.sha512(tpm.device.random(KEY_SIZE) + os.urandom(KEY_SIZE)).digest()
    recovery_key = draw_recovery_key(hashlib.sha512(tpm.device.random(KEY_SIZE) + os.urandom(KEY_SIZE)).digest())
    header = make_header(header_file, passphrase, recovery_key)
    unsealed = UnsealedState(passphrase, hashlib.sha256(header).digest())
    customer_key = ec.generate_private_key(ec.SECP256R1())
    policy = policy_authorize(external_signing_key(customer_key.public_key()).name, state_reference())
    sealed = seal(tpm.device, tpm.srk, unsealed.passphrase + unsealed.header_sha256, policy)
    binding = StateBinding(
        version=1,
        srk_name=tpm.srk.public.name.hex(),
        customer_key=_public_pem(customer_key),
        public=sealed.public_2b,
        private=sealed.private_2b,
        approvals=approve_release(release, customer_key),
        pending_header=header,
    )
    return DrawnState(FirstBootSecrets(_private_pem(customer_key), recovery_key), header, binding, unsealed)


def settle_header(device: Path, binding: Path, bound: StateBinding, unsealed: UnsealedState) -> None:
    """Bring the header from the record to the disk, at the end of the first boot or after a power cut in it.

    Raises:
        StateVolumeError: the header in the record is not the sealed one, or the disk is not blank there.
    """
    if bound.pending_header is None:
        return
    complete_header(device, bound.pending_header, unsealed.header_sha256)
    store_binding(binding, bound.model_copy(update={"pending_header": None}))


def unseal_state(tpm: ProvisionedTpm, bound: StateBinding, release_id: str) -> UnsealedState:
    """Unseal under the customer's approval of the running release.

    Raises:
        VerificationError: SRK_NAME_MISMATCH: it is sealed to another TPM.
        StateVolumeError: not approved, or the TPM refuses.
    """
    if bound.srk_name != tpm.srk.public.name.hex():
        raise VerificationError(
            RejectionCode.SRK_NAME_MISMATCH,
            "The state volume is sealed to another TPM: the disk was moved, or the TPM was changed or cleared. "
            "Put the disk back; if that TPM is gone, install the box anew and activate it again.",
        )
    approvals = [approval for approval in bound.approvals if approval.release_id == release_id]
    if not approvals:
        raise StateVolumeError(
            "The customer's administrator has not approved this release for the state volume.",
            cure="Approve it, or start the release that was approved.",
        )
    refusals: list[str] = []
    for approval in approvals:
        try:
            content = _unseal_approved(tpm, bound, approval)
        except TpmError as error:
            refusals.append(str(error))
            continue
        if len(content) != KEY_SIZE + hashlib.sha256().digest_size:
            raise StateVolumeError("The sealed key of the state volume is not of the expected length.")
        return UnsealedState(content[:KEY_SIZE], content[KEY_SIZE:])
    raise StateVolumeError(f"The TPM does not unseal the state volume's key in this boot: {refusals[0]}")


def _unseal_approved(tpm: ProvisionedTpm, bound: StateBinding, approval: StateApproval) -> bytes:
    pcrs = pcr_bytes(approval.pcrs)
    authorization = Authorization(
        key=external_signing_key(load_p256_public_key(bound.customer_key)),
        policy_ref=state_reference(),
        approved_policy=state_policy(pcrs),
        signature=approval.signature,
    )
    sealed = SealedObject(bound.public, bound.private)
    name = bytes.fromhex(bound.srk_name)  # names a moved disk; nothing vouches for it (policies/spec/binding.md, 2)
    return unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=name)


def draw_recovery_key(randomness: bytes) -> str:
    """200 random bits as eight groups of five Crockford base32 digits, for a human to keep on paper."""
    number = int.from_bytes(randomness[:25], "big")
    digits = [
        RECOVERY_ALPHABET[number >> 5 * place & 31] for place in reversed(range(RECOVERY_GROUPS * RECOVERY_GROUP_SIZE))
    ]
    return "-".join(_groups("".join(digits), RECOVERY_GROUP_SIZE))


def _groups(text: str, size: int) -> Sequence[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode("ascii")
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
