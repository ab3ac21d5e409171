"""What this process writes to the journal: lines of a fixed form, made of names from code and of numbers.

A library's message may hold what a client sent, and an exception's text what the engine said; neither is written. Where
something went wrong is: the level, the logger, the kind of the exception, and file and line. Lines of our own are
:class:`Notice` and :class:`Trouble`, whose words are closed sets. What stands on the console is :mod:`.console`'s.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType


class Event(StrEnum):
    """What our own lines can be about."""

    EXTRACTION_ALARM = "extraction-alarm"
    FLOWS_UNREPORTED = "flows-unreported"
    RETENTION = "retention"
    SITE_UNREADABLE = "site-unreadable"


@dataclass(frozen=True, slots=True)
class Notice:
    """A line of our own. No name of an API key: that is the customer's text."""

    event: Event
    model: str
    """Payload id: of the signed release."""
    code: StrEnum
    level: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is tried again, or done without, by the kind of its error."""

    event: Event
    kind: type[Exception]


class AllowedLines(logging.Formatter):
    """Makes a line of a record, and lets nothing else of it through."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if isinstance(record.msg, Notice):
            notice = record.msg
            return f"event={notice.event} model={notice.model} code={notice.code} level={notice.level}"
        if isinstance(record.msg, Trouble):
            return f"event={record.msg.event} error={record.msg.kind.__name__}"
        words = [f"level={record.levelname}", f"from={record.name}", f"at={Path(record.pathname).name}:{record.lineno}"]
        if record.exc_info and record.exc_info[0] is not None:
            words.append(_raised(record.exc_info[0], record.exc_info[2]))
        return " ".join(words)


def write_allowed_lines_only() -> None:
    """Have every logger, warning and uncaught exception of this process go through :class:`AllowedLines`."""
    handler = logging.StreamHandler()
    handler.setFormatter(AllowedLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False
    sys.excepthook = lambda kind, _, trace: write_end(kind, trace)
    threading.excepthook = lambda left: write_end(left.exc_type, left.exc_traceback)
    sys.unraisablehook = lambda left: write_end(left.exc_type, left.exc_traceback)


def tell(notice: Notice | Trouble) -> None:
    """Write a line of our own."""
    logging.getLogger("sealwright").warning(notice)


def write_end(kind: type[BaseException], trace: TracebackType | None) -> None:
    """Write the line of an exception that ends a process or a thread."""
    print(f"level=CRITICAL {_raised(kind, trace)}", file=sys.stderr, flush=True)


def _raised(kind: type[BaseException], trace: TracebackType | None) -> str:
    """The kind of an exception and where it was raised."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "unknown"
    return f"error={kind.__name__} in={where}"
