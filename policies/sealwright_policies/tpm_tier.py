"""Kinds of TPM, by which licences and domains say on which machines something may be opened."""

from __future__ import annotations

from enum import StrEnum


class TpmTier(StrEnum):
    """Kind of TPM that an anchor vouches for (policies/spec/enrollment.md)."""

    SOFTWARE = "software"
    FIRMWARE = "firmware"
    DISCRETE = "discrete"
