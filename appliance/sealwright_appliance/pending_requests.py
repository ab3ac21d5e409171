"""What the box has asked for by file and not yet been answered (policies/spec/air-gap.md, 5).

On the state volume, written before a request leaves the box: so a reply is known to be to the last request, also after
a power cut. Nothing here is secret; an activation code is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.messages import EnrollmentChallenge

LIMIT = 64 * 1024


class PendingRenewal(Document):
    """``renewal.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    nonce: Sha256Hex
    """Of the request: 32 bytes in hexadecimal."""


class PendingActivation(Document):
    """``activation.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    request: Sha256Hex
    """Digest of the enrolment request."""
    challenge: EnrollmentChallenge | None
    """Once it has been answered."""


@dataclass(frozen=True, slots=True)
class PendingRequests:
    """The folder of both."""

    directory: Path

    def renewal(self) -> PendingRenewal | None:
        """The last renewal request, None if it is answered."""
        content = read_file(self._renewal, LIMIT)
        return None if content is None else parse_json(PendingRenewal, content, limit=LIMIT)

    def keep_renewal(self, nonce: bytes) -> None:
        """A request with this nonce is about to leave the box."""
        write_durably(self._renewal, document_bytes(PendingRenewal(version=1, nonce=nonce.hex())))

    def forget_renewal(self) -> None:
        """Its reply has been taken up."""
        remove_durably(self._renewal)

    def activation(self) -> PendingActivation | None:
        """The activation by file that is under way."""
        content = read_file(self._activation, LIMIT)
        return None if content is None else parse_json(PendingActivation, content, limit=LIMIT)

    def keep_activation(self, request: str, challenge: EnrollmentChallenge | None) -> None:
        """A request of this digest, or the proof for this challenge, is about to leave the box."""
        pending = PendingActivation(version=1, request=request, challenge=challenge)
        write_durably(self._activation, document_bytes(pending))

    def forget_activation(self) -> None:
        """The box is activated."""
        remove_durably(self._activation)

    @property
    def _renewal(self) -> Path:
        return self.directory / "renewal.json"

    @property
    def _activation(self) -> Path:
        return self.directory / "activation.json"
