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
from sealwright_appliance.tpm_provision import ProvisionedTpm
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.wipe_order import verify_wipe_order, volume_id


def is_ordered(bound: StateBinding | None) -> bool:
    """Whether the record holds an order by its own customer key, for its own volume."""
    if bound is None or bound.wipe_order is None:
        return False
    try:
        verify_wipe_order(bound.wipe_order, volume_id(bound.public), load_p256_public_key(bound.customer_key))
    except SealwrightError:
        return False
    return True


def carry_out(tpm: ProvisionedTpm, bound: StateBinding, *, state: Path, binding: Path) -> None:
    """Leave TPM and disk as before the first boot; counters go on above their old values when they are made again.

    A TPM whose storage key is another one already was cleared, by us before a power cut or by its owner.

    Raises:
        OperationError: the TPM refuses, or the disk does; the order stands.
    """
    if bound.srk_name == tpm.srk.public.name.hex():
        tpm.device.call("clear the TPM", tpm.device.esapi.clear, ESYS_TR.LOCKOUT)
    overwrite(state, 0, bytes(volumes.DATA_OFFSET))
    erase_binding(binding)
