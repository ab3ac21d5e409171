"""Why something of the site cannot be set."""

from __future__ import annotations

from sealwright_policies.errors import SealwrightError


class SiteError(SealwrightError):
    """With a stable code."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
