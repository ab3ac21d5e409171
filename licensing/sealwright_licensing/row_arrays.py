"""Arrays of rows as PostgreSQL sends them, read once (statements.py: several look-ups are one statement).

A decision reads everything twice, before and under its locks, and licences and releases are the same for every box; so
the last arrays are kept by their bytes. A kept row is what the same bytes would be read as again.
"""

from __future__ import annotations

from typing import Any

from psycopg.abc import Buffer
from psycopg.types.array import ArrayBinaryLoader

RECORDS = 2287
"""Oid of the type record[] (pg_type.dat)."""
MOST_KEPT, LONGEST_KEPT = 512, 64 * 1024
"""Arrays, and bytes of one."""

_kept: dict[bytes, tuple[Any, ...]] = {}


class RowArrayLoader(ArrayBinaryLoader):
    """Reads such an array, or remembers it."""

    def load(self, data: Buffer) -> tuple[Any, ...]:  # type: ignore[override]
        """The rows, each a tuple."""
        raw = bytes(data)
        rows = _kept.get(raw)
        if rows is None:
            rows = tuple(super().load(data))
            if len(raw) <= LONGEST_KEPT:
                if len(_kept) >= MOST_KEPT:
                    _kept.clear()
                _kept[raw] = rows
        return rows
