"""Destroys the state volume when its customer orders it (policies/spec/binding.md, 4).

The order is kept in the binding record and carried out at the next unlock, when nothing is open: TPM2_Clear, which
makes every copy of the sealed key worthless, then the header, then the record. After a power cut the order is found
again.
"""

from __future__ import annotations

from pathlib import Path

from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance import volumes
from sealwright_appliance.binding import StateBinding, erase_binding
from sealwright_appliance.files import overwrite
from sealwright_appliance.tpm_device import TpmDevice
from sealwright_appliance.tpm_errors import TpmError
from sealwright_appliance.tpm_unseal import SealedObject, load_sealed
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.tcg.srk import SrkTemplate, srk_template
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.wipe_order import verify_wipe_order, volume_id


def is_ordered(bound: StateBinding | None) -> bool:
    """Whether the record holds an order by its own customer key, for its own volume."""
    if bound is None or bound.wipe_order is None:
        return False
    try:
        verify_wipe_order(
            bound.wipe_order, volume_id(bound.public, bound.private), load_p256_public_key(bound.customer_key)
        )
    except SealwrightError:
        return False
    return True


def carry_out(tpm: TpmDevice, bound: StateBinding, *, state: Path, binding: Path) -> None:
    """Leave TPM and disk as before the first boot; counters go on above their old values when they are made again.

    Raises:
        OperationError: the disk refuses, or the TPM does and would still open the sealed key; the order stands.
    """
    clear_tpm(tpm, bound)
    overwrite(state, 0, bytes(volumes.DATA_OFFSET))
    erase_binding(binding)


def clear_tpm(tpm: TpmDevice, bound: StateBinding) -> None:
    """TPM2_Clear, again after a power cut: from here on nobody opens the sealed key, whoever has a copy of it.

    Nothing that the record says of the TPM is asked, nor which storage key lies in it: both are in the owner's hand.

    Raises:
        OperationError: the TPM refuses, and was not cleared otherwise.
    """
    try:
        tpm.call("clear the TPM", tpm.esapi.clear, ESYS_TR.LOCKOUT)
    except TpmError as error:
        if _is_loadable(tpm, SealedObject(bound.public, bound.private)):
            raise OperationError(
                f"The customer has ordered to wipe this box, and its TPM does not let itself be cleared: {error}",
                cure="Clear the TPM in the firmware setup; the next start does the rest.",
            ) from None


def _is_loadable(tpm: TpmDevice, sealed: SealedObject) -> bool:
    """Whether any storage key that this TPM's owner seed gives still takes the object."""
    for template in SrkTemplate:
        with tpm.primary("try a storage key", srk_template(template), ESYS_TR.OWNER) as (parent, _):
            try:
                handle = load_sealed(tpm, parent, sealed)
            except TpmError:
                continue
            with tpm.flushed(handle):
                return True
    return False
