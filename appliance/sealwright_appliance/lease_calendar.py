"""The calendar by which a running lease may end: the machine's clock, held against what the service says.

The clock of a box is advice: its battery is empty, somebody has set it. One that is behind prolongs nothing, since the
TPM decides. One that is ahead, of the service's, would end leases early, at worst every one at once. So a lease that
has just come tells how far ahead it is, which is remembered (policies/spec/lease.md, 4). A reply that the service has
kept for a while makes it seem ahead by its age: that ends nothing, and the next lease corrects it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, write_durably
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json
from sealwright_policies.wire.lease import Lease

CALENDAR_FILE = "calendar.json"
FILE_LIMIT = 4096
SAME_S = 3600
"""Differences below end no lease; they are how long a message takes, and are not worth a write."""


class KnownError(Document):
    """What is remembered."""

    version: Annotated[int, Field(ge=1, le=1)]
    ahead_s: Annotated[int, Field(ge=0)]


@dataclass
class LeaseCalendar:
    """Reads the clock, less what it is known to be ahead."""

    path: Path | None = None
    """None: nothing is remembered."""
    clock: Callable[[], float] = time.time
    _ahead_s: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Remember."""
        content = read_file(self.path, FILE_LIMIT) if self.path is not None else None
        if content is not None:
            try:
                self._ahead_s = parse_json(KnownError, content, limit=FILE_LIMIT).ahead_s
            except FormatError:
                self._ahead_s = 0  # the next lease tells

    def now(self) -> int:
        """Seconds since the epoch, as far as they are known."""
        return int(self.clock()) - self._ahead_s

    def learn(self, lease: Lease) -> None:
        """A lease has just come.

        Raises:
            OperationError: the disk refuses.
        """
        read = int(self.clock())
        ahead_s = read - lease.issued_at
        if ahead_s < SAME_S:
            ahead_s = 0
        if abs(ahead_s - self._ahead_s) < SAME_S:
            return
        self._ahead_s = ahead_s
        if self.path is not None:
            write_durably(self.path, document_bytes(KnownError(version=1, ahead_s=ahead_s)))
