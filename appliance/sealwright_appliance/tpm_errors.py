"""What the TPM refuses, in words, with the cure where there is one (TPM 2.0 Library, Part 2, 6.6)."""

from __future__ import annotations

from enum import IntEnum

from sealwright_policies.errors import OperationError

_FORMAT_ONE = 0x80
_FORMAT_ONE_MASK = 0xBF
"""Format-one codes carry the number of a handle, parameter or session in the other bits (Part 2, 6.6.2)."""
_FORMAT_ZERO_MASK = 0xFFF
_LAYER_MASK = 0xFF0000
_TCTI_LAYER = 0x0A0000


class ResponseCode(IntEnum):
    """TPM_RC values, without the number of the handle, parameter or session, that this package tells apart."""

    INITIALIZE = 0x100
    FAILURE = 0x101
    POLICY = 0x126
    PCR_CHANGED = 0x128
    NV_UNINITIALIZED = 0x14A
    NV_SPACE = 0x14B
    NV_DEFINED = 0x14C
    CONTEXT_GAP = 0x901
    OBJECT_MEMORY = 0x902
    SESSION_MEMORY = 0x903
    MEMORY = 0x904
    SESSION_HANDLES = 0x905
    OBJECT_HANDLES = 0x906
    YIELDED = 0x908
    TESTING = 0x90A
    NV_RATE = 0x920
    LOCKOUT = 0x921
    RETRY = 0x922
    NV_UNAVAILABLE = 0x923
    VALUE = 0x084
    HANDLE = 0x08B
    AUTH_FAIL = 0x08E
    POLICY_FAIL = 0x09D
    INTEGRITY = 0x09F
    BAD_AUTH = 0x0A2


RETRYABLE = frozenset(
    {
        ResponseCode.CONTEXT_GAP,
        ResponseCode.OBJECT_MEMORY,
        ResponseCode.SESSION_MEMORY,
        ResponseCode.MEMORY,
        ResponseCode.SESSION_HANDLES,
        ResponseCode.OBJECT_HANDLES,
        ResponseCode.YIELDED,
        ResponseCode.TESTING,
        ResponseCode.NV_RATE,
        ResponseCode.RETRY,
        ResponseCode.NV_UNAVAILABLE,
    }
)
"""Passes by itself: somebody else holds a slot, or the TPM is busy."""

_CURES: dict[int, tuple[str, str]] = {
    ResponseCode.LOCKOUT: (
        "the TPM is in dictionary-attack lockout",
        "Leave the machine on until the lockout time has passed, or reset it with the lockout authorisation.",
    ),
    ResponseCode.NV_SPACE: (
        "the TPM's NV storage is full",
        "Remove indices that other software has left there (tpm2_nvundefine), or clear the TPM in the firmware setup.",
    ),
    ResponseCode.BAD_AUTH: (
        "the TPM's owner or endorsement authorisation is set, and this box does not know it",
        "Set it back to empty, or clear the TPM in the firmware setup.",
    ),
    ResponseCode.AUTH_FAIL: (
        "an authorisation of the TPM is set, and this box does not know it",
        "Set it back to empty, or clear the TPM in the firmware setup.",
    ),
    ResponseCode.FAILURE: ("the TPM is in failure mode", "Switch the machine off and on; replace it if this stays."),
    ResponseCode.INITIALIZE: ("the TPM was not started by the firmware", "Enable the TPM in the firmware setup."),
}


class TpmError(OperationError):
    """A TPM command failed. ``code`` is the response code without handle, parameter or session number."""

    def __init__(self, doing: str, rc: int) -> None:
        self.rc = rc
        self.code = normalized(rc)
        if rc & _LAYER_MASK == _TCTI_LAYER:
            reason, cure = "the TPM does not answer", "Check that a TPM 2.0 is enabled in the firmware setup."
        else:
            reason, cure = _CURES.get(self.code, (_name(self.code), ""))
        super().__init__(f"TPM, {doing}: {reason} (response code {rc:#x}).", cure=cure)


def normalized(rc: int) -> int:
    """The response code without the bits that say which handle, parameter or session it is about."""
    return rc & _FORMAT_ONE_MASK if rc & _FORMAT_ONE else rc & _FORMAT_ZERO_MASK


def _name(code: int) -> str:
    try:
        return f"TPM_RC_{ResponseCode(code).name}"
    except ValueError:
        return "the TPM refuses"
