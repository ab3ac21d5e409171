"""TPMs that this deployment refuses, by maker, model and firmware: ``[[denied_tpm]]`` in config.toml.

Maker and model come from the EK certificate, the firmware's version from what the TPM signs (TPMS_ATTEST), so an update
of the firmware is seen at the next proof. Weak RSA keys (ROCA) are refused without being listed: endorsement.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sealwright_policies.errors import RejectionCode, VerificationError


class DeniedTpm(BaseModel):
    """One entry: a maker, and only some of its models or older firmware if those are given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manufacturer: Annotated[str, StringConstraints(pattern=r"^id:[0-9A-Fa-f]{8}$")]
    """As in EK certificates: "id:" and the vendor id of the TCG registry in hex."""
    model: str | None = None
    firmware_below: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    """firmwareVersion of TPMS_ATTEST; from here on it is accepted. None: never."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class TpmFloor:
    """The entries of a deployment."""

    denied: Sequence[DeniedTpm] = ()

    def require(self, manufacturer: str, model: str, firmware_version: int | None) -> None:
        """Refuse a TPM that an entry names.

        Args:
            firmware_version: None while it is not known; then only entries for all firmware count.

        Raises:
            VerificationError: TPM_NOT_ALLOWED.
        """
        for entry in self.denied:
            if entry.manufacturer.casefold() != manufacturer.casefold() or entry.model not in (None, model):
                continue
            if entry.firmware_below is None or (
                firmware_version is not None and firmware_version < entry.firmware_below
            ):
                raise VerificationError(
                    RejectionCode.TPM_NOT_ALLOWED,
                    f"TPMs of maker {manufacturer}, model {model or 'unnamed'} with this firmware are refused: "
                    f"{entry.reason}",
                    found=firmware_version,
                )
