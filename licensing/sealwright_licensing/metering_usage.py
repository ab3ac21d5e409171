"""Usage by licence and month, added up as receipts are stored; :mod:`.metering_reports` reads it."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from sealwright_licensing.metering_records import MeteringUsage
from sealwright_licensing.store import Transaction
from sealwright_policies.metering.receipt import Receipt

COUNTS = ("requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms")
MODEL_ITSELF = ""
"""Alias of the record that holds a model's lease time."""


def month_of(seconds: int) -> str:
    """UTC month of a time, YYYY-MM."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m")


def add_usage(transaction: Transaction, receipt: Receipt, *, disputed: bool, received_at: int, sign: int = 1) -> None:
    """Add a receipt's counts to its month, or take them away again with ``sign`` -1."""
    for record in _records(receipt, disputed=disputed, received_at=received_at):
        held = transaction.get(MeteringUsage, *_key(record))
        added: dict[str, Any] = {
            name: (getattr(held, name) if held else 0) + sign * getattr(record, name) for name in COUNTS
        }
        transaction.put(replace(record, **added))


def _key(record: MeteringUsage) -> tuple[str, str, str, str, str, str, bool]:
    """The primary key."""
    return (
        record.license_id,
        record.month,
        record.claimed_month,
        record.device_id,
        record.partition_id,
        record.alias,
        record.disputed,
    )


def _records(receipt: Receipt, *, disputed: bool, received_at: int) -> list[MeteringUsage]:
    """A receipt's counts as records of its month."""
    partitions = {one.model: one.partition_id for one in receipt.models}
    rows = [
        (row.model, row.alias, row.requests, row.prompt_tokens, row.completion_tokens, row.busy_ms, 0)
        for row in receipt.rows
    ]
    rows += [(one.model, MODEL_ITSELF, 0, 0, 0, 0, one.lease_ms) for one in receipt.models]
    return [
        MeteringUsage(
            license_id=receipt.license_id,
            month=month_of(received_at),
            claimed_month=month_of(receipt.closed_at),
            device_id=receipt.device_id,
            partition_id=partitions[model],
            alias=alias,
            disputed=disputed,
            model=model,
            **dict(zip(COUNTS, counts, strict=True)),
        )
        for model, alias, *counts in rows
    ]
