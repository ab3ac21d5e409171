"""Usage by licence and month: added up as receipts are stored, and read by command, API and console."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain, MeteringUsage
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.metering.receipt import Receipt

COUNTS = ("requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms")
MODEL_ITSELF = ""
"""Alias of the record that holds a model's lease time."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Which usage; None is any."""

    license_id: str | None = None
    month: str | None = None
    """UTC month of receipt, YYYY-MM."""
    device_id: str | None = None

    @property
    def equal(self) -> dict[str, Any]:
        """The fields that are asked for."""
        asked = {"license_id": self.license_id, "month": self.month, "device_id": self.device_id}
        return {name: value for name, value in asked.items() if value is not None}


def month_of(seconds: int) -> str:
    """UTC month of a time, YYYY-MM."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m")


def usage(store: Store, query: UsageQuery) -> list[MeteringUsage]:
    """The usage asked for, in order of its key: one record per month, box, model and alias.

    Disputed usage is among it, in records of its own. For charts, add up what is wanted with :func:`totals`.
    """
    with store.read() as transaction:
        found = transaction.find(MeteringUsage, **query.equal)
    return sorted(found, key=_key)


def totals(records: Iterable[MeteringUsage], *by: str) -> dict[tuple[str, ...], dict[str, int]]:
    """Counts added up by fields of the records, e.g. ``("month", "model")``; what is disputed is left out."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for record in records:
        if record.disputed:
            continue
        into = found.setdefault(tuple(getattr(record, name) for name in by), dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            into[name] += getattr(record, name)
    return dict(sorted(found.items()))


def alarms(store: Store, query: UsageQuery) -> list[MeteringAlarm]:
    """What was found odd, newest first."""
    equal = {name: value for name, value in query.equal.items() if name != "month"}
    with store.read() as transaction:
        return transaction.find(MeteringAlarm, newest_first="raised_at", **equal)


def chains(store: Store, query: UsageQuery) -> list[MeteringChain]:
    """Where the chains stand, the one last heard of first."""
    equal = {name: value for name, value in query.equal.items() if name != "month"}
    with store.read() as transaction:
        return transaction.find(MeteringChain, newest_first="reported_at", **equal)


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
