"""What else may have happened to a TPM: NV full of other software's indices, dictionary-attack lockout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import TPM2_ALG, TPMA_NV
from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPMS_NV_PUBLIC

from sealwright_testing.tpm_session import TpmSession

FIRST = 0x01800000
GUARDED = 0x01700000


def ordinary_index(index: int, size: int = 8) -> TPM2B_NV_PUBLIC:
    """An index of other software."""
    attributes = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.OWNERREAD
    public = TPMS_NV_PUBLIC(nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=size)
    return TPM2B_NV_PUBLIC(public)


def fill_nv(esapi: ESAPI) -> None:
    """Define indices until none fits; the TPM keeps room for a few counters, so these come last."""
    first = FIRST
    for size in (2048, 256, 32, 8):
        first = _define_all(first, partial(_define_ordinary, esapi, size=size))
    _define_all(first, TpmSession(esapi).define_counter)


def lock_out(esapi: ESAPI) -> None:
    """Give wrong passwords until the TPM takes no more for a while."""
    esapi.dictionary_attack_parameters(1, 10_000, 10_000)
    handle = esapi.nv_define_space(b"a password", ordinary_index(GUARDED))
    esapi.tr_set_auth(handle, b"another")
    while True:
        try:
            esapi.nv_write(handle, b"12345678")
        except TSS2_Exception as error:
            if error.rc & 0xFFF == 0x921:  # TPM_RC_LOCKOUT
                return


def _define_ordinary(esapi: ESAPI, index: int, *, size: int) -> None:
    esapi.nv_define_space(None, ordinary_index(index, size))


def _define_all(index: int, define: Callable[[int], object]) -> int:
    while True:
        try:
            define(index)
        except TSS2_Exception:
            return index
        index += 1
