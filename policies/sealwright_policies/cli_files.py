"""Reading the files that are named on the command line."""

from __future__ import annotations

from pathlib import Path

from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.tcg.eventlog import MAX_LOG_SIZE, EventLog, parse_event_log
from sealwright_policies.tcg.foreign_logs import refuse_foreign_log


def read_file(path: Path, *, max_size: int) -> bytes:
    """Return the contents of a file that the user named.

    Raises:
        UsageError: it is not there or cannot be read.
        FormatError: it is longer than ``max_size`` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_size + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(data) > max_size:
        raise FormatError(f"{path}: longer than {max_size} bytes")
    return data


def load_event_log(path: Path) -> EventLog:
    """Read and parse a boot event log.

    Raises:
        UsageError, FormatError: as :func:`read_file`; malformed.
        UnsupportedError: a file of another kind, and of which.
    """
    data = read_file(path, max_size=MAX_LOG_SIZE)
    refuse_foreign_log(data)
    return parse_event_log(data)
