"""The claim: whoever activates the box must have read its console.

The claim code and what is handed out with it once lie on the sealed state volume until the claim, then they are
erased. Wrong codes are answered slowly and in constant time.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.state_volume import FirstBootSecrets
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json

CLAIM_LIMIT = 64 * 1024
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford base32: no I, L, O, U."""
CODE_GROUPS, CODE_GROUP_SIZE = 3, 4
ATTEMPTS_AT_ONCE = 5
ATTEMPT_EVERY_S = 20.0
"""60 random bits at three guesses a minute: no guessing."""


class ClaimError(SealwrightError):
    """The claim code does not open this box: wrong, used before, or asked too often."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class ClaimFile(Document):
    """``claim.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    spent: bool
    claim_code: str | None
    customer_key_pem: str | None
    recovery_key: str | None


def draw_claim_code() -> str:
    """60 random bits as three groups of four digits."""
    groups = ("".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_GROUP_SIZE)) for _ in range(CODE_GROUPS))
    return "-".join(groups)


class Claim:
    """The claim file, and the limiter in front of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens = float(ATTEMPTS_AT_ONCE)
        self._counted_at: float | None = None

    def create(self, first_boot: FirstBootSecrets) -> None:
        """Write the file at the first boot."""
        self._write(
            ClaimFile(
                version=1,
                spent=False,
                claim_code=draw_claim_code(),
                customer_key_pem=first_boot.customer_key_pem,
                recovery_key=first_boot.recovery_key,
            )
        )

    def code(self) -> str | None:
        """The code to show on the console, None once it is spent."""
        claim = self._read()
        return None if claim is None or claim.spent else claim.claim_code

    def check(self, shown: str, now: float) -> ClaimFile:
        """Compare a code.

        Args:
            shown: as the customer typed it; case, blanks and dashes do not matter.
            now: seconds of any steady clock.

        Raises:
            ClaimError: 429 too many attempts, 409 used before, 403 wrong.
        """
        if not self._take_token(now):
            raise ClaimError(429, "RATE_LIMITED", "Too many claim codes were tried; wait a minute.")
        claim = self._read()
        if claim is None or claim.spent or claim.claim_code is None:
            raise ClaimError(409, "CLAIM_SPENT", "This box is claimed already.")
        if not hmac.compare_digest(_plain(shown).encode(), _plain(claim.claim_code).encode()):
            raise ClaimError(403, "CLAIM_CODE_INVALID", "The claim code is not the one on the box's console.")
        return claim

    def spend(self) -> None:
        """Erase everything that was handed out; no code opens the box again."""
        self._write(ClaimFile(version=1, spent=True, claim_code=None, customer_key_pem=None, recovery_key=None))

    def _take_token(self, now: float) -> bool:
        if self._counted_at is not None:
            regained = (now - self._counted_at) / ATTEMPT_EVERY_S
            self._tokens = min(float(ATTEMPTS_AT_ONCE), self._tokens + regained)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _read(self) -> ClaimFile | None:
        content = read_file(self._path, CLAIM_LIMIT)
        return None if content is None else parse_json(ClaimFile, content, limit=CLAIM_LIMIT)

    def _write(self, claim: ClaimFile) -> None:
        write_durably(self._path, document_bytes(claim))


def _plain(code: str) -> str:
    return "".join(character for character in code.upper() if character.isalnum())
