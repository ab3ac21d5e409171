"""The open interval: what has been counted since the last receipt, and what becomes the next one. Pure.

Every change makes a new journal; :mod:`.meter_store` writes it whole. Gateways number their batches, so one that comes
twice, or again after a power cut, is taken once (policies/spec/metering.md, 6).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import Field

from sealwright_policies.metering.receipt import (
    ALIAS_KEY_SIZE,
    MODELS_MOST,
    OTHER_KEYS,
    ROWS_MOST,
    ChainId,
    Count,
    ModelUsage,
    Point,
    Receipt,
    SealedReceipt,
    Seconds,
    UsageRow,
    chain_start,
    seal_receipt,
)
from sealwright_policies.wire.encoding import Bytes4K, Document, Identifier, Sha256Hex
from sealwright_policies.wire.messages import DeviceId

BATCH_ROWS_MOST = 2000
GATEWAYS_MOST = 8
"""Of which the last batch is remembered: the gateway that runs, and those before it in this boot."""
JOURNAL_LIMIT = 1024 * 1024
COUNT_MOST = 2**48 - 1


class BatchRow(Document):
    """What a gateway has counted of a model and a key."""

    model: Identifier
    key: Annotated[str, Field(min_length=1, max_length=64)]
    """Name of the API key."""
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    busy_ms: Count


class Batch(Document):
    """``POST /metering`` of the agent."""

    gateway_id: ChainId
    """16 random bytes of one run of the gateway."""
    number: Annotated[int, Field(ge=1)]
    rows: Annotated[list[BatchRow], Field(max_length=BATCH_ROWS_MOST)]


class GatewayMark(Document):
    """The last batch of a gateway that was taken."""

    gateway_id: ChainId
    number: int


class Journal(Document):
    """``metering/journal.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    device_id: DeviceId
    license_id: Identifier
    chain_id: ChainId
    alias_key: Annotated[Bytes4K, Field(repr=False)]
    sequence: int
    """Number of the receipt that this becomes."""
    previous: Sha256Hex
    opened: Point
    opened_at: Seconds
    running_ms: Count
    models: list[ModelUsage]
    rows: list[UsageRow]
    gateways: list[GatewayMark]


def begin_chain(device_id: str, license_id: str, opened: Point, opened_at: int) -> Journal:
    """The journal of a new chain's first receipt."""
    chain_id = secrets.token_hex(16)
    return Journal(
        version=1,
        device_id=device_id,
        license_id=license_id,
        chain_id=chain_id,
        alias_key=secrets.token_bytes(ALIAS_KEY_SIZE),
        sequence=1,
        previous=chain_start(chain_id, device_id, license_id),
        opened=opened,
        opened_at=opened_at,
        running_ms=0,
        models=[],
        rows=[],
        gateways=[],
    )


def with_batch(
    journal: Journal, batch: Batch, *, alias: Callable[[BatchRow], str], partition: Callable[[str], str]
) -> Journal:
    """Take a gateway's batch, unless it has been taken.

    Args:
        alias: what the vendor sees of the key of a row.
        partition: partition id of a model.
    """
    marks = {mark.gateway_id: mark.number for mark in journal.gateways}
    if batch.number <= marks.pop(batch.gateway_id, 0):
        return journal
    rows = {(row.model, row.alias): row for row in journal.rows}
    for new in batch.rows:
        key = (new.model, alias(new))
        if key not in rows and len(rows) >= ROWS_MOST - MODELS_MOST:
            key = (new.model, OTHER_KEYS)
        rows[key] = _sum(rows.get(key), new, key[1])
    marks[batch.gateway_id] = batch.number
    kept = [GatewayMark(gateway_id=name, number=number) for name, number in marks.items()][-GATEWAYS_MOST:]
    models = _with_times(journal.models, ((row.model, 0) for row in batch.rows), partition)
    return journal.model_copy(update={"rows": [rows[key] for key in sorted(rows)], "models": models, "gateways": kept})


def with_time(journal: Journal, running_ms: int, serving: Iterable[str], *, partition: Callable[[str], str]) -> Journal:
    """Count time for which the meter ran, and the models that were served meanwhile."""
    times = ((model, running_ms) for model in serving)
    return journal.model_copy(
        update={
            "running_ms": _capped(journal.running_ms + running_ms),
            "models": _with_times(journal.models, times, partition),
        }
    )


def with_copying(journal: Journal, model: str, alarms: int, *, partition: Callable[[str], str]) -> Journal:
    """Count alarms of a model's being copied."""
    models = {one.model: one for one in _with_times(journal.models, [(model, 0)], partition)}
    held = models[model]
    models[model] = held.model_copy(update={"copying_alarms": _capped(held.copying_alarms + alarms)})
    return journal.model_copy(update={"models": list(models.values())})


def close_journal(journal: Journal, closed: Point, closed_at: int, lease_number: int) -> tuple[SealedReceipt, Journal]:
    """The receipt of the interval that ends here, and the journal of the next."""
    sealed = seal_receipt(
        Receipt(
            version=1,
            device_id=journal.device_id,
            license_id=journal.license_id,
            chain_id=journal.chain_id,
            sequence=journal.sequence,
            previous=journal.previous,
            lease_number=lease_number,
            opened=journal.opened,
            closed=closed,
            opened_at=journal.opened_at,
            closed_at=closed_at,
            running_ms=journal.running_ms,
            models=journal.models,
            rows=journal.rows,
        )
    )
    return sealed, behind(journal, sealed)


def behind(journal: Journal, sealed: SealedReceipt) -> Journal:
    """The journal of the interval after a receipt that was made of this one."""
    receipt = sealed.receipt
    return journal.model_copy(
        update={
            "sequence": receipt.sequence + 1,
            "previous": sealed.digest,
            "opened": receipt.closed,
            "opened_at": receipt.closed_at,
            "running_ms": 0,
            "models": [],
            "rows": [],
        }
    )


def in_new_chain(journal: Journal, license_id: str, opened: Point, opened_at: int) -> Journal:
    """A new chain that begins with what was counted and not closed yet: nothing is lost with the old one."""
    kept = {name: getattr(journal, name) for name in ("running_ms", "models", "rows", "gateways", "alias_key")}
    return begin_chain(journal.device_id, license_id, opened, opened_at).model_copy(update=kept)


def _sum(held: UsageRow | None, new: BatchRow, alias: str) -> UsageRow:
    names = ("requests", "prompt_tokens", "completion_tokens", "busy_ms")
    counts = {name: _capped((getattr(held, name) if held else 0) + getattr(new, name)) for name in names}
    return UsageRow(model=new.model, alias=alias, **counts)


def _with_times(
    models: list[ModelUsage], times: Iterable[tuple[str, int]], partition: Callable[[str], str]
) -> list[ModelUsage]:
    found = {one.model: one for one in models}
    for model, lease_ms in times:
        held = found.get(model)
        if held is None:
            held = ModelUsage(model=model, partition_id=partition(model), lease_ms=0, copying_alarms=0)
        found[model] = held.model_copy(update={"lease_ms": _capped(held.lease_ms + lease_ms)})
    return [found[model] for model in sorted(found)]


def _capped(count: int) -> int:
    return min(count, COUNT_MOST)
