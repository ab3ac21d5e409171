"""Structured logs: one JSON object a line, of listed fields only.

A field that is not listed is dropped, so that nobody logs a message body, a code or a key by passing one more argument.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys

FIELDS = ("method", "path", "status", "code", "device_id", "license_id", "purpose", "address", "duration_ms",
          "behind_s", "seats", "seats_taken")  # fmt: skip
"""What a record may carry beside its message."""

logger = logging.getLogger("sealwright.licensing")


class JsonFormatter(logging.Formatter):
    """Formats a record; of an exception only its type and place, for its text may quote input."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        line.update({name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            traceback = record.exc_info[2]
            while traceback is not None:
                line["at_line"] = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
                traceback = traceback.tb_next
        return json.dumps(line, separators=(",", ":"), default=str)


def configure_logging() -> None:
    """Log to standard error, uvicorn's messages included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
