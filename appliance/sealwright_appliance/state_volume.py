"""The state volume: everything the box must remember, under a key that only a state approved by the customer opens.

LUKS2 on a disk that anybody can write to. Its key is drawn here at the first boot and sealed in the TPM under
PolicyAuthorize(customer key, "sealwright/v1/state"), together with the SHA-256 of the whole header: LUKS2 headers are
not authenticated, and changed ones have broken comparable systems (CVE-2025-59054). The box reads the header once,
compares it, and opens the volume by that copy. It formats a blank disk only and never repairs by formatting.

Layout: docs/the-box.md, The disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from sealwright_appliance import volumes
from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_appliance.run import run
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_appliance.tpm_unseal import Authorization, SealedObject, seal, state_assertions, unseal
from sealwright_policies.appraisal.reference_values import STATE_SET
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import OperationError
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    external_signing_key,
    policy_authorize,
    policy_command_code,
    policy_pcr,
    sign_policy,
)
from sealwright_policies.wire.encoding import (
    Bytes4K,
    Document,
    PcrValues,
    Sha256Hex,
    document_bytes,
    parse_json,
    pcr_bytes,
    pcr_values,
)
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import state_reference
from sealwright_policies.wire.service import Pem

KEY_SIZE = 64
"""Bytes of the passphrase in the first key slot."""
BLANK_SIZE = 8 * 1024 * 1024
"""Bytes at the front that are zero on a disk never used; every place of a LUKS2 header lies in them."""
BINDING_LIMIT = 1024 * 1024
SEALED_FILE = "state.json"
FORMATTING_FILE = "formatting"
"""Stands while the first boot formats: a power cut then leaves nothing that could be lost, and it is done again."""
RECOVERY_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RECOVERY_GROUPS, RECOVERY_GROUP_SIZE = 8, 5


class StateVolumeError(OperationError):
    """The state volume does not open, for the reason given. Nothing was changed."""


class StateApproval(Document):
    """The customer's word that one boot state may open the state volume."""

    release_id: Sha256Hex
    pcrs: PcrValues
    """Of the STATE_SET at the unseal point."""
    signature: Bytes4K
    """TPMT_SIGNATURE over aHash(PolicyPCR ∧ PolicyCommandCode(Unseal), state_reference)."""


class StateBinding(Document):
    """``state.json`` on the binding partition. Not secret, and not trusted: the TPM judges it."""

    version: Annotated[int, Field(ge=1, le=1)]
    customer_key: Pem
    public: Bytes4K
    private: Bytes4K
    """TPM2B_PUBLIC and TPM2B_PRIVATE of key ‖ SHA-256(header)."""
    approvals: Annotated[list[StateApproval], Field(max_length=64)]


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
class MadeState:
    """A state volume as the first boot has made it."""

    secrets: FirstBootSecrets
    unsealed: UnsealedState
    """What was sealed."""


def approved_states(release: Release) -> list[dict[int, bytes]]:
    """Values of the STATE_SET at the unseal point of a release, one set per way through PCR 4."""
    measurements = release.measurements
    common = pcr_bytes(measurements.unseal)
    return [
        {pcr: bytes.fromhex(application.pcr4) if pcr == 4 else common[pcr] for pcr in STATE_SET}
        for application in measurements.boot_applications
    ]


def state_policy(pcrs: Mapping[int, bytes]) -> bytes:
    """PolicyPCR(STATE_SET) ∧ PolicyCommandCode(Unseal), 32 bytes."""
    return policy_command_code(policy_pcr(EMPTY_POLICY, pcrs), CommandCode.UNSEAL)


def approve_release(release: Release, customer_key: ec.EllipticCurvePrivateKey) -> list[StateApproval]:
    """Approve every boot state of a release."""
    return [
        StateApproval(
            release_id=release.release_id,
            pcrs=pcr_values(pcrs),
            signature=sign_policy(customer_key, state_policy(pcrs), state_reference()),
        )
        for pcrs in approved_states(release)
    ]


def is_blank(device: Path) -> bool:
    """Whether no header has ever been written to a partition."""
    with device.open("rb") as file:
        return not any(file.read(BLANK_SIZE))


def needs_formatting(device: Path, binding: Path) -> bool:
    """Whether this is the first boot, or one that was cut off in its formatting.

    Raises:
        StateVolumeError: one of the two partitions was used and the other was not: something is lost or was changed.
    """
    if (binding / FORMATTING_FILE).exists():
        return True
    blank, bound = is_blank(device), (binding / SEALED_FILE).exists()
    if blank and not bound:
        return True
    if blank:
        raise StateVolumeError(
            "The header of the state volume is gone.", cure="Restore the disk from a copy, or install the box anew."
        )
    if not bound:
        raise StateVolumeError(
            "The sealed key of the state volume is gone from the binding partition.",
            cure="Open the volume with the recovery key on another machine, or install the box anew.",
        )
    return False


def format_state_volume(tpm: ProvisionedTpm, device: Path, binding: Path, release: Release) -> MadeState:
    """First boot: draw the keys, write the header, seal key and header digest.

    The order makes a power cut harmless: the marker stands from before the first write until the sealed object is on
    the disk. The caller then makes the file system and calls :func:`formatting_done`.
    """
    write_durably(binding / FORMATTING_FILE, b"")
    passphrase = hashlib.sha512(tpm.device.random(KEY_SIZE) + os.urandom(KEY_SIZE)).digest()
    recovery_key = draw_recovery_key(hashlib.sha512(tpm.device.random(KEY_SIZE) + os.urandom(KEY_SIZE)).digest())
    run(volumes.format_luks(device), secrets=[passphrase])
    run(volumes.add_luks_passphrase(device), secrets=[passphrase, recovery_key.encode("ascii")])
    unsealed = UnsealedState(passphrase, hashlib.sha256(read_header(device)).digest())
    customer_key = ec.generate_private_key(ec.SECP256R1())
    policy = policy_authorize(external_signing_key(customer_key.public_key()).name, state_reference())
    sealed = seal(tpm.device, tpm.srk, unsealed.passphrase + unsealed.header_sha256, policy)
    document = StateBinding(
        version=1,
        customer_key=_public_pem(customer_key),
        public=sealed.public_2b,
        private=sealed.private_2b,
        approvals=approve_release(release, customer_key),
    )
    write_durably(binding / SEALED_FILE, document_bytes(document))
    return MadeState(FirstBootSecrets(_private_pem(customer_key), recovery_key), unsealed)


def formatting_done(binding: Path) -> None:
    """The first boot has made everything; from now on nothing is ever formatted."""
    remove_durably(binding / FORMATTING_FILE)


def unseal_state(tpm: ProvisionedTpm, binding: Path, release_id: str) -> UnsealedState:
    """Unseal under the customer's approval of the running release.

    Raises:
        StateVolumeError: not approved, or the TPM refuses.
    """
    content = read_file(binding / SEALED_FILE, BINDING_LIMIT)
    if content is None:
        raise StateVolumeError("The sealed key of the state volume is gone from the binding partition.")
    document = parse_json(StateBinding, content, limit=BINDING_LIMIT)
    approvals = [approval for approval in document.approvals if approval.release_id == release_id]
    if not approvals:
        raise StateVolumeError(
            "The customer's administrator has not approved this release for the state volume.",
            cure="Approve it, or start the release that was approved.",
        )
    sealed = SealedObject(document.public, document.private)
    refusals: list[str] = []
    for approval in approvals:
        try:
            content = _unseal_approved(tpm, sealed, document.customer_key, approval)
        except TpmError as error:
            refusals.append(str(error))
            continue
        if len(content) != KEY_SIZE + hashlib.sha256().digest_size:
            raise StateVolumeError("The sealed key of the state volume is not of the expected length.")
        return UnsealedState(content[:KEY_SIZE], content[KEY_SIZE:])
    raise StateVolumeError(f"The TPM does not unseal the state volume's key in this boot: {refusals[0]}")


def _unseal_approved(tpm: ProvisionedTpm, sealed: SealedObject, customer_key: str, approval: StateApproval) -> bytes:
    pcrs = pcr_bytes(approval.pcrs)
    authorization = Authorization(
        key=external_signing_key(load_p256_public_key(customer_key)),
        policy_ref=state_reference(),
        approved_policy=state_policy(pcrs),
        signature=approval.signature,
    )
    name = tpm.srk.public.name
    return unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=name)


def checked_header(device: Path, unsealed: UnsealedState, copy: Path) -> Path:
    """Copy the header to memory, compare it with the sealed digest, and return the copy to open the volume by.

    Args:
        copy: a path on a tmpfs.

    Raises:
        StateVolumeError: the header was changed, or asks for something else than this box ever makes.
    """
    header = read_header(device)
    if hashlib.sha256(header).digest() != unsealed.header_sha256:
        raise StateVolumeError(
            "The header of the state volume is not the one that this box wrote.",
            cure="Somebody or something changed the disk; restore it from a copy.",
        )
    write_durably(copy, header)
    check_luks_metadata(run(volumes.dump_luks_metadata(copy)))
    return copy


def read_header(device: Path) -> bytes:
    """Everything before the data."""
    with device.open("rb") as file:
        return file.read(volumes.HEADER_SIZE)


def check_luks_metadata(text: str) -> None:
    """Demand one segment of AES-XTS over the whole device and no requirement such as re-encryption.

    Raises:
        StateVolumeError: anything else.
    """
    try:
        metadata = json.loads(text)
        segments = list(metadata["segments"].values())
        requirements = metadata["config"].get("requirements")
        tokens = metadata["tokens"]
        form = [(s["type"], s["encryption"], s["sector_size"], s["size"]) for s in segments]
        plain = [sorted(s) == ["encryption", "iv_tweak", "offset", "sector_size", "size", "type"] for s in segments]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StateVolumeError("The header of the state volume is not readable.") from None
    wanted = [("crypt", volumes.STATE_CIPHER, volumes.STATE_SECTOR_SIZE, "dynamic")]
    if form != wanted or not all(plain) or requirements or tokens:
        raise StateVolumeError("The header of the state volume asks for something that this box never makes.")


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
