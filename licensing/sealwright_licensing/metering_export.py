"""Usage as CSV, Parquet or JSON: one line per month, box, model and alias, the same columns in each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from sealwright_licensing.metering_records import MeteringUsage

COLUMNS = (
    "license_id", "month", "claimed_month", "device_id", "model", "partition_id", "alias", "requests",
    "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms", "disputed",
)  # fmt: skip
_NUMBERS = frozenset({"requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula (OWASP, CSV Injection); an alias may be a name."""


class ExportFormat(StrEnum):
    """What usage is written as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


def export_usage(records: Sequence[MeteringUsage], form: ExportFormat) -> bytes:
    """Write usage as bytes of a file."""
    lines = [{name: asdict(record)[name] for name in COLUMNS} for record in records]
    writers: dict[ExportFormat, Callable[[list[dict[str, Any]]], bytes]] = {
        ExportFormat.CSV: _csv,
        ExportFormat.PARQUET: _parquet,
        ExportFormat.JSON: _json,
    }
    return writers[form](lines)


def _csv(lines: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({name: _safe(value) for name, value in line.items()})
    return text.getvalue().encode("utf-8")


def _safe(value: object) -> object:
    """A cell that no spreadsheet runs."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return str(value).lower() if isinstance(value, bool) else value


def _parquet(lines: list[dict[str, Any]]) -> bytes:
    # Here, since it takes longer to import than most commands to run.
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    def column(name: str) -> Any:
        kind = pyarrow.int64() if name in _NUMBERS else pyarrow.bool_() if name == "disputed" else pyarrow.string()
        return pyarrow.field(name, kind, nullable=False)

    table = pyarrow.Table.from_pylist(lines, schema=pyarrow.schema([column(name) for name in COLUMNS]))
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def _json(lines: list[dict[str, Any]]) -> bytes:
    return json.dumps(lines, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"
