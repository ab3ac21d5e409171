"""Tables of :mod:`sealwright_licensing.metering_records`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, Table, Text

from sealwright_licensing import metering_records


def metering_tables(metadata: MetaData) -> dict[type[object], Table]:
    """Add them to the schema; the table of each record."""
    chains = Table(
        "metering_chains",
        metadata,
        *_texts("device_id", "chain_id", key=True),
        *_texts("license_id", "enrollment_id"),
        *_numbers("begun_at", "sequence"),
        *_texts("digest"),
        *_numbers("reset_count", "clock_ms", "ticks"),
        Column("disputed", Boolean, nullable=False),
        *_numbers("reported_at"),
        Index(None, "license_id"),
        Index(None, "disputed", "reported_at"),
    )
    receipts = Table(
        "metering_receipts",
        metadata,
        *_texts("device_id", "chain_id", "digest", key=True),
        *_numbers("sequence"),
        *_texts("license_id"),
        Column("content", LargeBinary, nullable=False),
        Column("disputed", Boolean, nullable=False),
        *_numbers("received_at"),
    )
    usage = Table(
        "metering_usage",
        metadata,
        *_texts("license_id", "month", "claimed_month", "device_id", "partition_id", "alias", key=True),
        Column("disputed", Boolean, primary_key=True, nullable=False),
        *_texts("model"),
        *_numbers("requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms"),
        Index(None, "month"),
    )
    alarms = Table(
        "metering_alarms",
        metadata,
        *_texts("alarm_id", key=True),
        *_texts("device_id", "license_id", "chain_id"),
        *_numbers("sequence"),
        *_texts("code", "sentence"),
        *_numbers("raised_at"),
        Index(None, "raised_at", "alarm_id"),
        Index(None, "device_id"),
        Index(None, "license_id"),
    )
    return {
        metering_records.MeteringChain: chains,
        metering_records.MeteringReceipt: receipts,
        metering_records.MeteringUsage: usage,
        metering_records.MeteringAlarm: alarms,
    }


def _texts(*names: str, key: bool = False) -> list[Column[str]]:
    return [Column(name, Text, primary_key=key, nullable=False) for name in names]


def _numbers(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False, autoincrement=False) for name in names]
