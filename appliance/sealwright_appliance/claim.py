"""The claim: whoever activates the box must have read its console.

The claim code, and what is handed out with it, are drawn at the first boot and lie on the sealed state volume. They do
not change until the customer acknowledges them; then all are erased. So the same code gives the same secrets as often
as it is asked, whatever is lost or restarts in between. Guessing is slowed down by :mod:`.attempt_limiter`.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.api_keys import draw_api_key
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.state_volume import FirstBootSecrets
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json

CLAIM_LIMIT = 64 * 1024
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford base32: no I, L, O, U."""
CODE_GROUPS, CODE_GROUP_SIZE = 3, 4


class ClaimError(SealwrightError):
    """The claim code does not open this box: wrong, used before, or asked too often."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class OpenClaim(Document):
    """What waits for the customer."""

    claim_code: Annotated[str, Field(repr=False)]
    api_key: Annotated[str, Field(repr=False)]
    """Means nothing until the activation has put its hash among the API keys."""
    customer_key_pem: Annotated[str, Field(repr=False)]
    recovery_key: Annotated[str, Field(repr=False)]


class ClaimFile(Document):
    """``claim.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    waiting: OpenClaim | None
    """None once the claim is spent."""


def draw_claim_code() -> str:
    """60 random bits as three groups of four digits."""
    groups = ("".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_GROUP_SIZE)) for _ in range(CODE_GROUPS))
    return "-".join(groups)


class Claim:
    """The claim file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, first_boot: FirstBootSecrets) -> None:
        """Write the file at the first boot."""
        self._write(
            OpenClaim(
                claim_code=draw_claim_code(),
                api_key=draw_api_key(),
                customer_key_pem=first_boot.customer_key_pem,
                recovery_key=first_boot.recovery_key,
            )
        )

    def code(self) -> str | None:
        """The code to show on the console, None once it is spent."""
        waiting = self._read()
        return None if waiting is None else waiting.claim_code

    def opened_with(self, shown: str) -> OpenClaim:
        """Compare a code.

        Args:
            shown: as the customer typed it; case, blanks and dashes do not matter.

        Raises:
            ClaimError: 409 used before, 403 wrong.
        """
        waiting = self._read()
        if waiting is None:
            raise ClaimError(409, "CLAIM_SPENT", "This box is claimed already.")
        if not hmac.compare_digest(_plain(shown).encode(), _plain(waiting.claim_code).encode()):
            raise ClaimError(403, "CLAIM_CODE_INVALID", "The claim code is not the one on the box's console.")
        return waiting

    def spend(self) -> None:
        """Erase everything that was handed out; no code opens the box again."""
        self._write(None)

    def _read(self) -> OpenClaim | None:
        content = read_file(self._path, CLAIM_LIMIT)
        return None if content is None else parse_json(ClaimFile, content, limit=CLAIM_LIMIT).waiting

    def _write(self, waiting: OpenClaim | None) -> None:
        write_durably(self._path, document_bytes(ClaimFile(version=1, waiting=waiting)))


def _plain(code: str) -> str:
    return "".join(character for character in code.upper() if character.isalnum())
