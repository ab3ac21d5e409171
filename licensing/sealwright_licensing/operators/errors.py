"""Errors of the operators' side, which have an HTTP status. Their codes are stable like rejection codes."""

from __future__ import annotations

from sealwright_policies.errors import SealwrightError

UNAUTHENTICATED, FORBIDDEN, CROSS_SITE = "UNAUTHENTICATED", "FORBIDDEN", "CROSS_SITE"
PRECONDITION_FAILED, KEY_REUSED, NOT_POSSIBLE = "PRECONDITION_FAILED", "IDEMPOTENCY_KEY_REUSED", "NOT_POSSIBLE"


class OperatorError(SealwrightError):
    """A request of an operator that is not served."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


def unauthenticated(sentence: str) -> OperatorError:
    """Nobody that we know; the sentence does not say whether a token was ever one of ours."""
    return OperatorError(401, UNAUTHENTICATED, sentence)


def forbidden(sentence: str) -> OperatorError:
    """Somebody that we know, who may not do this."""
    return OperatorError(403, FORBIDDEN, sentence)
