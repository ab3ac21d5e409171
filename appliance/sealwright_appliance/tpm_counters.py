"""The NV counters of the box: ticks (a meter of running time), the lease number N, and one that dates the claim.

TPM_NT_COUNTER with AUTHWRITE, AUTHREAD and NO_DA, empty authorisation. Anybody on the box may increment them, which
only shortens a lease; nobody can set them back: an index that is undefined and defined again goes on above the highest
value that any counter of this TPM has had (Part 1, 37.2.4.3). Increment also writes the TPM's clock to NV on swtpm.
"""

from __future__ import annotations

from dataclasses import dataclass

from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_NV_PUBLIC

from sealwright_appliance.tpm_device import TpmDevice
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.tcg.nv import COUNTER_SIZE, NvPublic, counter_public, parse_nv_public
from sealwright_policies.tcg.reader import sized_2b

TICK_INDICES = tuple(range(0x01C10200, 0x01C10210, 2))
LEASE_INDICES = tuple(range(0x01C10201, 0x01C10210, 2))
CLAIM_INDICES = tuple(range(0x01C10210, 0x01C10218))
"""The first that is free or ours: other software may have taken one."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter that has been incremented at least once, so that its Name stays."""

    handle: ESYS_TR
    public: NvPublic

    @property
    def name(self) -> bytes:
        """The Name by which leases know it."""
        return self.public.name


@dataclass(frozen=True, slots=True)
class Counters:
    """All of them."""

    ticks: Counter
    lease: Counter
    claim: Counter
    """Of the box alone (:mod:`.claim_counter`); no lease and no message knows it."""


def provision_counters(tpm: TpmDevice) -> Counters:
    """Find the counters; define and increment once those that this TPM does not have yet.

    Raises:
        OperationError: NV is full, the owner authorisation is set, or all indices are taken.
    """
    return Counters(*(_provision(tpm, indices) for indices in (TICK_INDICES, LEASE_INDICES, CLAIM_INDICES)))


def read_counter(tpm: TpmDevice, counter: Counter) -> int:
    """The present value."""
    content = tpm.call(
        "read a counter",
        tpm.esapi.nv_read,
        nv_index=counter.handle,
        size=COUNTER_SIZE,
        offset=0,
        auth_handle=counter.handle,
    )
    return int.from_bytes(bytes(content), "big")


def increment_counter(tpm: TpmDevice, counter: Counter) -> None:
    """Count one up. There is no way back."""
    _increment(tpm, counter.handle)


def _provision(tpm: TpmDevice, indices: tuple[int, ...]) -> Counter:
    in_use = set(tpm.handles(indices[0], indices[-1]))
    for index in indices:
        if index not in in_use:
            return _define(tpm, index)
        handle, public = _read_public(tpm, index)
        if public == counter_public(index, written=True):
            return Counter(handle, public)
        if public == counter_public(index, written=False):  # power failed between definition and first increment
            return _first_increment(tpm, handle, index)
    raise OperationError(
        f"TPM: the NV indices {indices[0]:#x} to {indices[-1]:#x} are taken by other software.",
        cure="Remove them (tpm2_nvundefine), or clear the TPM in the firmware setup.",
    )


def _define(tpm: TpmDevice, index: int) -> Counter:
    structure, _ = TPM2B_NV_PUBLIC.unmarshal(sized_2b(counter_public(index, written=False).area))
    handle = tpm.call(
        "define a counter",
        tpm.esapi.nv_define_space,
        auth=None,
        public_info=structure,
        auth_handle=ESYS_TR.OWNER,
    )
    return _first_increment(tpm, handle, index)


def _first_increment(tpm: TpmDevice, handle: ESYS_TR, index: int) -> Counter:
    _increment(tpm, handle)
    # A fresh handle: the Name that the TSS remembers for the old one is without WRITTEN.
    handle, public = _read_public(tpm, index)
    if public is None:
        raise OperationError(f"TPM: the counter at {index:#x} is gone after its first increment.")
    return Counter(handle, public)


def _read_public(tpm: TpmDevice, index: int) -> tuple[ESYS_TR, NvPublic | None]:
    """Handle and public area, None where it is of a form that we do not parse: then it is not ours."""
    handle = tpm.call("find a counter", tpm.esapi.tr_from_tpmpublic, handle=index)
    structure, _ = tpm.call("find a counter", tpm.esapi.nv_read_public, nv_index=handle)
    try:
        return handle, parse_nv_public(structure.marshal()[2:])
    except FormatError:
        return handle, None


def _increment(tpm: TpmDevice, handle: ESYS_TR) -> None:
    tpm.call("increment a counter", tpm.esapi.nv_increment, nv_index=handle, auth_handle=handle)
