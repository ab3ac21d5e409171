"""When the days are over for which a domain keeps its files (policies/spec/domain-flow.md, 11)."""

from __future__ import annotations

from sealwright_policies.wire.lease import DAY_S

LEAST_DAYS = 1
"""A file has to outlive the job that reads it, and the day is what is counted in."""


def days_are_over(since: int, now: int, days: int) -> bool:
    """Whether a file has been there for the days of its domain; seconds of the calendar of :mod:`.flows.retention`."""
    return now - since >= max(days, LEAST_DAYS) * DAY_S
