"""Usage as CSV, Parquet or JSON: one line per month, box, model and alias, the same columns in each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Any, BinaryIO

from sealwright_licensing.metering_records import MeteringUsage

COLUMNS = (
    "license_id", "month", "claimed_month", "device_id", "model", "partition_id", "alias", "requests",
    "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms", "disputed",
)  # fmt: skip
_NUMBERS = frozenset({"requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms"})
_ROW_GROUP = 65_536
"""Lines of a row group."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula (OWASP, CSV Injection); an alias may be a name."""


class ExportFormat(StrEnum):
    """What usage is written as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


def export_usage(records: Iterable[MeteringUsage], form: ExportFormat, out: BinaryIO) -> None:
    """Write usage as a file, as it comes."""
    lines = ({name: getattr(record, name) for name in COLUMNS} for record in records)
    writers: dict[ExportFormat, Callable[[Iterator[dict[str, Any]], BinaryIO], None]] = {
        ExportFormat.CSV: _csv,
        ExportFormat.PARQUET: _parquet,
        ExportFormat.JSON: _json,
    }
    writers[form](lines, out)


def _csv(lines: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _safe(value) for name, value in line.items()})
    text.detach()


def _safe(value: object) -> object:
    """A cell that no spreadsheet runs."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return str(value).lower() if isinstance(value, bool) else value


def _parquet(lines: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    # Here, since it takes longer to import than most commands to run.
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    def column(name: str) -> Any:
        kind = pyarrow.int64() if name in _NUMBERS else pyarrow.bool_() if name == "disputed" else pyarrow.string()
        return pyarrow.field(name, kind, nullable=False)

    schema = pyarrow.schema([column(name) for name in COLUMNS])
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        while group := list(islice(lines, _ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _json(lines: Iterator[dict[str, Any]], out: BinaryIO) -> None:
    start = b"["
    for line in lines:
        out.write(start + b"\n " + json.dumps(line, ensure_ascii=False).encode("utf-8"))
        start = b","
    out.write(b"\n]\n" if start == b"," else b"[]\n")
