"""What the service remembers of metering (policies/spec/metering.md). Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeteringChain:
    """Where a chain of receipts stands."""

    device_id: str
    chain_id: str
    license_id: str
    enrollment_id: str
    """The device's when the chain began; one chain may begin in each."""
    begun_at: int
    sequence: int
    digest: str
    reset_count: int
    clock_ms: int
    ticks: int
    """Closing point of the head."""
    disputed: bool
    reported_at: int


@dataclass(frozen=True, slots=True)
class MeteringReceipt:
    """A receipt as the box wrote it; its digest makes it count once."""

    device_id: str
    chain_id: str
    digest: str
    sequence: int
    license_id: str
    content: bytes
    disputed: bool
    """Whether it waits for the operator's word."""
    received_at: int


@dataclass(frozen=True, slots=True)
class MeteringUsage:
    """What one API key had of one model of one box in a month; alias "" is the model's own time, whoever asked."""

    license_id: str
    month: str
    """UTC month of receipt, YYYY-MM."""
    claimed_month: str
    """UTC month by the box's calendar."""
    device_id: str
    partition_id: str
    alias: str
    disputed: bool
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    busy_ms: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class MeteringAlarm:
    """Something that was found about a device's receipts."""

    alarm_id: str
    device_id: str
    license_id: str
    chain_id: str
    sequence: int
    code: str
    sentence: str
    raised_at: int
