"""The latest log lines of this process, in memory, for a support bundle (policies/spec/support-bundle.md, 4).

The journal is root's to read. What is kept of a record is what :mod:`.log_lines` writes of it: nothing that was said.
"""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path

from sealwright_appliance.log_lines import Notice, Trouble
from sealwright_policies.support import LINES_MOST, LinePart, name_of, place_of, word_of


class RecentLines(logging.Handler):
    """Keeps them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[LinePart] = deque(maxlen=LINES_MOST)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        kind = record.exc_info[0] if record.exc_info else None
        event = model = code = count = None
        match record.msg:
            case Notice() as notice:
                event, model, code, count = notice.event.value, notice.model, notice.code.value, notice.level
            case Trouble() as trouble:
                event, kind = trouble.event.value, trouble.kind
        line = LinePart(
            at=int(record.created),
            level=word_of(record.levelname.lower()) or "other",
            source=name_of(record.name),
            place=place_of(Path(record.pathname).name, record.lineno),
            error=name_of(kind.__name__ if kind is not None else None),
            event=event,
            model=model,
            code=code,
            count=count,
        )
        self._kept.append(line)

    def listen(self) -> None:
        """Keep what the root logger gets."""
        logging.getLogger().addHandler(self)

    def lines(self) -> list[LinePart]:
        """The oldest first."""
        return list(self._kept)
