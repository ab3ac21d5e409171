"""Table of :mod:`sealwright_licensing.flow_records`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text

from sealwright_licensing import flow_records


def flow_tables(metadata: MetaData) -> dict[type[object], Table]:
    """Add it to the schema; the table of each record."""
    flows = Table(
        "reported_flows",
        metadata,
        *_texts("device_id", "license_id", "digest", key=True),
        *_numbers("sequence"),
        *_texts("role", "flow_id", "other_id", "source", "target", "form", "name", "file_digest"),
        *_numbers("size"),
        *_texts("finding"),
        Column("content", LargeBinary, nullable=False),
        *_numbers("received_at"),
        Index(None, "flow_id"),
        Index(None, "received_at", "digest"),
    )
    return {flow_records.ReportedFlow: flows}


def _texts(*names: str, key: bool = False) -> list[Column[str]]:
    return [Column(name, Text, primary_key=key, nullable=False) for name in names]


def _numbers(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, autoincrement=False) for name in names]
