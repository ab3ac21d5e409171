"""Errors of the OpenAI-compatible API, in OpenAI's shape, with texts from this file only.

Engine and library texts never reach a client: they could carry prompts or paths. Nor does what the client itself has
sent come back in one, since programs log errors.
"""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

INSUFFICIENT_QUOTA = "insufficient_quota"
MODEL_TOO_LARGE = "MODEL_TOO_LARGE"
FINAL = frozenset({INSUFFICIENT_QUOTA, MODEL_TOO_LARGE})
"""What another try does not change."""
_LOOKS_LIKE = "What this key asks looks like the copying of a model (the box's administrator can clear it)"
DO_NOT_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients go by it."""


class ApiError(Exception):
    """A refusal that a client sees: status, OpenAI's error fields, and how long to wait where waiting helps."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.line = line
        """Of a text that was sent, if the refusal is about one; for pages that say it in another language."""

    def response(self) -> JSONResponse:
        """The reply on the wire."""
        headers = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s is not None else {}
        if self.code in FINAL:
            headers |= DO_NOT_RETRY
        return JSONResponse(self.body(), status_code=self.status, headers=headers)

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = INSUFFICIENT_QUOTA if self.code == INSUFFICIENT_QUOTA else self._kind()
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error if self.line is None else error | {"line": self.line}}

    def _kind(self) -> str:
        return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )


def invalid_key() -> ApiError:
    """No key, a malformed one or an unknown one: the same answer for all three."""
    return ApiError(401, "invalid_api_key", "An API key of this box is required: Authorization: Bearer sw-…")


def keys_unreadable() -> ApiError:
    """The file of the keys is damaged: nobody can be let in."""
    return ApiError(503, "api_keys_unreadable", "The box cannot read its API keys.")


def unknown_model(known: list[str]) -> ApiError:
    """The model is not on this box."""
    return ApiError(404, "model_not_found", f"No such model here; there is: {', '.join(known)}.", param="model")


def engine_unavailable() -> ApiError:
    """The engine of a model does not answer; it is being restarted."""
    return ApiError(503, "engine_unavailable", "The model is being loaded; try again shortly.", retry_after_s=2)


def model_too_large(sentence: str) -> ApiError:
    """The machine has not enough memory for a model."""
    return ApiError(503, MODEL_TOO_LARGE, sentence)


def model_not_loaded(code: str, sentence: str) -> ApiError:
    """A model that was out of memory could not be brought back."""
    return ApiError(503, code, sentence, retry_after_s=30)


def not_serving(code: str, sentence: str) -> ApiError:
    """The box is locked, not activated, or its lease has ended."""
    return ApiError(503, code, sentence, retry_after_s=30)


def busy(retry_after_s: int) -> ApiError:
    """The queue is full."""
    return ApiError(429, "queue_full", "Too many requests are waiting; try again later.", retry_after_s=retry_after_s)


def insufficient_quota(retry_after_s: int | None) -> ApiError:
    """A budget is used up."""
    message = "A budget of this model or of this key is used up; the box's administrator can see which."
    return ApiError(429, INSUFFICIENT_QUOTA, message, retry_after_s=retry_after_s)


def quota_held(retry_after_s: int) -> ApiError:
    """The rest of a budget is held by requests that run."""
    message = "Running requests hold what is left of a budget; try again when they are over."
    return ApiError(429, "rate_limit_exceeded", message, retry_after_s=retry_after_s)


def extraction_slowed(retry_after_s: int) -> ApiError:
    """A key's requests look like the copying of a model, and too many of them wait."""
    return ApiError(429, "rate_limit_exceeded", f"{_LOOKS_LIKE}: it is slowed down.", retry_after_s=retry_after_s)


def extraction_refused(retry_after_s: int) -> ApiError:
    """A key's requests look more like the copying of a model."""
    return ApiError(429, "rate_limit_exceeded", f"{_LOOKS_LIKE}: it is refused.", retry_after_s=retry_after_s)


def rate_exceeded(retry_after_s: int) -> ApiError:
    """More in a minute than the policy lets one key ask."""
    message = "This key has asked as often as it may in a minute."
    return ApiError(429, "rate_limit_exceeded", message, retry_after_s=retry_after_s)


def too_many_at_once(most: int) -> ApiError:
    """One request with more texts than the policy lets one key ask in a minute."""
    return ApiError(400, "invalid_parameter", f"This key may ask for {most} texts in a minute, in one request too.")


def budgets_unreadable() -> ApiError:
    """The file of the budgets is damaged: nothing may leave."""
    return ApiError(503, "budgets_unreadable", "The box cannot read or write its budgets.")


def client_gone() -> ApiError:
    """Nobody is left to read this."""
    return ApiError(499, "client_closed_request", "The client has gone.")


def request_too_long() -> ApiError:
    """The longest time of a request is over; the licence sets it."""
    return ApiError(504, "request_too_long", "This takes longer than the box lets a request run.")
