"""Errors as RFC 9457 problem details with our stable codes."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from sealwright_policies.errors import (
    FormatError,
    OperationError,
    RejectionCode,
    SealwrightError,
    UnsupportedError,
    VerificationError,
)
from sealwright_policies.wire.messages import Problem

MEDIA_TYPE = "application/problem+json"
MALFORMED, UNSUPPORTED, UNAVAILABLE, INTERNAL = "MALFORMED", "UNSUPPORTED", "UNAVAILABLE", "INTERNAL"
TOO_LARGE, TOO_SLOW, NOT_FOUND, METHOD_NOT_ALLOWED = "TOO_LARGE", "TOO_SLOW", "NOT_FOUND", "METHOD_NOT_ALLOWED"

_STATUS = {RejectionCode.DEVICE_UNKNOWN: 404, RejectionCode.RATE_LIMITED: 429}
_TITLES = {400: "Malformed", 401: "Not authenticated", 403: "Denied", 404: "Not found", 409: "Not possible",
           412: "Changed meanwhile", 422: "Unsupported", 429: "Too many requests", 500: "Internal error",
           503: "Unavailable"}  # fmt: skip


def problem(status: int, code: str, detail: str, mismatches: list[dict[str, object]] | None = None) -> Problem:
    """A problem of ours."""
    return Problem(
        type=f"urn:sealwright:problem:{code.lower()}",
        title=_TITLES.get(status, "Refused"),
        status=status,
        detail=detail,
        code=code,
        mismatches=mismatches or [],
    )


def problem_of(error: SealwrightError) -> Problem:
    """The problem that a client is told; what failed inside is for the log alone."""
    match error:
        case VerificationError():
            detail = str(error).removeprefix(f"{error.code}: ")
            return problem(_STATUS.get(error.code, 403), error.code.value, detail, _mismatches(error, detail))
        case FormatError():
            return problem(400, MALFORMED, str(error))
        case UnsupportedError():
            return problem(422, UNSUPPORTED, str(error))
        case OperationError():
            return problem(503, UNAVAILABLE, "The service cannot decide now; ask again later.")
        case _:
            return problem(500, INTERNAL, "The service failed; its log says more.")


def response(shown: Problem, *, close: bool = False) -> JSONResponse:
    """The problem as an HTTP response; ``close`` ends the connection, where the rest of a body is not wanted."""
    headers = {"Retry-After": "60"} if shown.status in (429, 503) else {}
    if close:
        headers["Connection"] = "close"
    return JSONResponse(shown.model_dump(mode="json"), shown.status, headers, MEDIA_TYPE)


def _mismatches(error: VerificationError, detail: str) -> list[dict[str, object]]:
    listed = error.details.get("mismatches")
    if isinstance(listed, list):
        return listed
    details = {name: str(value) for name, value in error.details.items()}
    return [{"code": error.code.value, "sentence": detail, **details}]
