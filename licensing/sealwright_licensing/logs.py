"""Structured logs (structlog): one JSON object a line, of listed fields only, with the id of the request.

A field that is not listed is dropped, so that nobody logs a message body, a code or a key by passing one more argument.
Of an exception only its type and place are logged, for its text may quote input.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

FIELDS = ("method", "path", "status", "code", "device_id", "license_id", "purpose", "address", "duration_ms",
          "behind_s", "seats", "seats_taken")  # fmt: skip
"""What a record may carry beside its message."""
_OURS = ("at", "level", "event", "request_id", "exception", "at_line")

logger = logging.getLogger("sealwright.licensing")


def begin_request() -> str:
    """Draw an id for a request; all that is logged while it is answered carries it."""
    request_id = secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def formatter() -> logging.Formatter:
    """Formats records of the standard library, ours and other packages', as one line of JSON."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.stdlib.add_log_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ExtraAdder(FIELDS),
            _place_of_exception,
        ],
        processors=[_listed_only, structlog.processors.JSONRenderer(separators=(",", ":"), default=str)],
    )


def configure_logging() -> None:
    """Log to standard error, uvicorn's messages included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter())
    # What no line holds need not be found out for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _place_of_exception(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    raised = record.exc_info if record is not None else None
    if raised and raised[0] is not None:
        event["exception"] = raised[0].__name__
        event["at_line"] = _innermost(raised[2])
    return event


def _innermost(traceback: TracebackType | None) -> str:
    place = ""
    while traceback is not None:
        place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def _listed_only(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    order = (*_OURS, *FIELDS)
    return {name: event[name] for name in order if event.get(name) is not None}
