"""TPMS_NV_PUBLIC (TPM 2.0 Library, Part 2, 13.5): the public area of an NV index, and its Name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import lru_cache

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.algorithms import MAX_DIGEST_SIZE, AlgorithmId
from sealwright_policies.tcg.public import object_name
from sealwright_policies.tcg.reader import Reader, sized_2b

MAX_NV_PUBLIC_SIZE = 256
NV_INDEX_FIRST = 0x01000000
NV_INDEX_LAST = 0x01FFFFFF
COUNTER_SIZE = 8
"""Bytes in a TPM_NT_COUNTER index."""

_TYPE_SHIFT = 4
_TYPE_MASK = 0xF << _TYPE_SHIFT


class NvType(IntEnum):
    """TPM_NT (Part 2, 13.2)."""

    ORDINARY = 0x0
    COUNTER = 0x1
    BITS = 0x2
    EXTEND = 0x4
    PIN_FAIL = 0x8
    PIN_PASS = 0x9


class NvAttributes(IntFlag):
    """TPMA_NV (Part 2, 13.4) without the type nibble."""

    PPWRITE = 1 << 0
    OWNERWRITE = 1 << 1
    AUTHWRITE = 1 << 2
    POLICYWRITE = 1 << 3
    POLICY_DELETE = 1 << 10
    WRITELOCKED = 1 << 11
    WRITEALL = 1 << 12
    WRITEDEFINE = 1 << 13
    WRITE_STCLEAR = 1 << 14
    GLOBALLOCK = 1 << 15
    PPREAD = 1 << 16
    OWNERREAD = 1 << 17
    AUTHREAD = 1 << 18
    POLICYREAD = 1 << 19
    NO_DA = 1 << 25
    ORDERLY = 1 << 26
    CLEAR_STCLEAR = 1 << 27
    READLOCKED = 1 << 28
    WRITTEN = 1 << 29
    PLATFORMCREATE = 1 << 30
    READ_STCLEAR = 1 << 31


_KNOWN_ATTRIBUTES = sum(NvAttributes)


@dataclass(frozen=True, slots=True)
class NvPublic:
    """The public area of an NV index; ``area`` holds its exact bytes."""

    area: bytes
    index: int
    name_alg: int
    attributes: NvAttributes
    type: NvType
    auth_policy: bytes
    data_size: int

    @property
    def name(self) -> bytes:
        """The Name: nameAlg ‖ H(area). It changes when the index is first written, for WRITTEN is one of its bits."""
        return object_name(self.name_alg, self.area)


@lru_cache(maxsize=64)
def parse_nv_public(data: bytes) -> NvPublic:
    """Parse the bytes of a TPMS_NV_PUBLIC (without the TPM2B length). Raises FormatError only.

    The last are kept: the counters of all boxes have the same few areas.
    """
    reader = Reader(data, "TPMS_NV_PUBLIC", max_size=MAX_NV_PUBLIC_SIZE)
    index = reader.u32()
    if not NV_INDEX_FIRST <= index <= NV_INDEX_LAST:
        raise FormatError(f"TPMS_NV_PUBLIC: {index:#010x} is no NV index")
    name_alg = reader.u16()
    bits = reader.u32()
    if bits & ~(_KNOWN_ATTRIBUTES | _TYPE_MASK):
        raise FormatError(f"TPMA_NV: reserved bits {bits & ~(_KNOWN_ATTRIBUTES | _TYPE_MASK):#010x} are set")
    try:
        nv_type = NvType((bits & _TYPE_MASK) >> _TYPE_SHIFT)
    except ValueError:
        raise FormatError(f"TPMA_NV: reserved type {(bits & _TYPE_MASK) >> _TYPE_SHIFT:#x}") from None
    auth_policy = reader.sized(MAX_DIGEST_SIZE, "authPolicy")
    data_size = reader.u16()
    reader.finish()
    return NvPublic(data, index, name_alg, NvAttributes(bits & ~_TYPE_MASK), nv_type, auth_policy, data_size)


COUNTER_ATTRIBUTES = NvAttributes.AUTHWRITE | NvAttributes.AUTHREAD | NvAttributes.NO_DA
"""Of our two counters, before the first increment (policies/spec/attestation.md, 5)."""


def counter_public(index: int, *, written: bool) -> NvPublic:
    """Return the public area that a counter of ours must have at ``index``, before or after its first increment."""
    attributes = COUNTER_ATTRIBUTES | (NvAttributes.WRITTEN if written else NvAttributes(0))
    bits = attributes | NvType.COUNTER << _TYPE_SHIFT
    return parse_nv_public(
        index.to_bytes(4, "big")
        + AlgorithmId.SHA256.to_bytes(2, "big")
        + int(bits).to_bytes(4, "big")
        + sized_2b(b"")
        + COUNTER_SIZE.to_bytes(2, "big")
    )
