"""Usage by licence and month, added up as receipts are stored; :mod:`.metering_reports` reads it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
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


def add_usage(transaction: Transaction, counts: Iterable[MeteringUsage]) -> None:
    """Add counts of receipts to what stands there; each record is read and written once, however many receipts."""
    summed: dict[tuple[Any, ...], MeteringUsage] = {}
    for one in counts:
        key = _key(one)
        summed[key] = _sum(summed.get(key), one)
    for key, one in summed.items():
        transaction.put(_sum(transaction.get(MeteringUsage, *key), one))


def _sum(held: MeteringUsage | None, record: MeteringUsage) -> MeteringUsage:
    """The record with what is held added."""
    if held is None:
        return record
    counts: dict[str, Any] = {name: getattr(held, name) + getattr(record, name) for name in COUNTS}
    return replace(record, **counts)


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


def usage_of(receipt: Receipt, *, disputed: bool, received_at: int, sign: int = 1) -> list[MeteringUsage]:
    """A receipt's counts as records of its month; with ``sign`` -1 they take away what it has added."""
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
            **{name: sign * count for name, count in zip(COUNTS, counts, strict=True)},
        )
        for model, alias, *counts in rows
    ]
