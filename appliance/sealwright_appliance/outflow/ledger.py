"""How much of each budget is used: by model and key, and by model (policies/spec/outflow.md, 3). Pure.

What is handed out counts as used. The gateway asks ahead and keeps what a request leaves over for the next one, so a
power cut can make a budget smaller by what was kept, and never larger.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy
from sealwright_policies.wire.encoding import Document, Identifier

DAY_S = 86_400
ALL_KEYS = ""
OTHER_KEYS = "*"
"""All that come when there are rows for :data:`ROWS_MOST` already; they share one row."""
ROWS_MOST = 4000
AHEAD = 64
"""One part in so many of what is left is handed out beyond what is asked for."""
NO_LIMIT = 2**47
UNLIMITED_AHEAD = 64
"""Times what is asked for, where nothing limits it."""
COUNT_MOST = 2**48 - 1
"""No budget is larger: a count that has come to it stays there."""

Count = Annotated[int, Field(ge=0), AfterValidator(lambda count: min(count, COUNT_MOST))]


class LedgerRow(Document):
    """What a key has had of a model, in the latest day and month of its requests."""

    model: Identifier
    key: Annotated[str, Field(max_length=64)]
    """Name of the API key; empty for all keys together."""
    day: Count
    day_requests: Count
    day_tokens: Count
    month: Count
    month_requests: Count
    month_tokens: Count


class Ledger(Document):
    """``outflow/ledger.json``."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    at_s: Count = 0
    """The calendar of the budgets (section 3), seconds since the epoch."""
    rows: tuple[LedgerRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What the gateway may let out."""

    requests: int
    tokens: int
    retry_after_s: int | None
    """Where nothing is left of what was asked for: until the window ends whose budget is used up."""


def advanced(ledger: Ledger, passed_s: int, service_s: int) -> Ledger:
    """Let the calendar go on.

    Args:
        passed_s: for which the box has run since the last call.
        service_s: time of which the licence service has told; 0 for none.
    """
    return ledger.model_copy(update={"at_s": max(ledger.at_s + max(0, passed_s), service_s)})


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gateway needs for a request."""

    key: str
    """Name of the API key."""
    requests: int
    """0 if enough are left over."""
    tokens: int


def grant(ledger: Ledger, policies: Mapping[str, OutflowPolicy], asked: Asked) -> tuple[Ledger, Grant]:
    """Hand out what is asked for and some more, or what is left.

    Args:
        policies: by model, of all whose budgets it takes from: an adapter's use is its base's too.

    Returns:
        The ledger in which it is used, and the grant.
    """
    rows = {(row.model, row.key): row for row in ledger.rows}
    requests_left, tokens_left, waits, charged = NO_LIMIT, NO_LIMIT, [0], []
    for model, policy in policies.items():
        key = asked.key if (model, asked.key) in rows or len(rows) < ROWS_MOST else OTHER_KEYS
        own, total = (_in_windows(rows.get((model, name)), ledger.at_s, model, name) for name in (key, ALL_KEYS))
        charged += [own, total]
        for budget in policy.budgets:
            requests, left = _left(budget, own if budget.scope is BudgetScope.KEY else total)
            if (requests <= 0 and asked.requests) or (left <= 0 and asked.tokens):
                waits.append(_window_left_s(budget.window, ledger.at_s))
            requests_left, tokens_left = min(requests_left, requests), min(tokens_left, left)
    given = Grant(_given(asked.requests, requests_left), _given(asked.tokens, tokens_left), max(waits) or None)
    if not given.requests and not given.tokens:
        return ledger, given
    rows |= {(row.model, row.key): _with(row, given) for row in charged}
    return ledger.model_copy(update={"rows": tuple(rows[name] for name in sorted(rows))}), given


def _given(asked: int, left: int) -> int:
    left = max(0, left)  # an update may bring a budget that is smaller than what is used
    ahead = asked * UNLIMITED_AHEAD if left >= NO_LIMIT else left // AHEAD
    return min(left, asked + ahead) if asked else 0


def used(ledger: Ledger, model: str, key: str) -> LedgerRow:
    """What a key has had in the windows of now."""
    found = next((row for row in ledger.rows if (row.model, row.key) == (model, key)), None)
    return _in_windows(found, ledger.at_s, model, key)


def _in_windows(row: LedgerRow | None, at_s: int, model: str, key: str) -> LedgerRow:
    """The row as of now: a window that is over begins with nothing."""
    day, month = _windows(at_s)
    same_day, same_month = row is not None and row.day == day, row is not None and row.month == month
    return LedgerRow(
        model=model,
        key=key,
        day=day,
        day_requests=row.day_requests if row and same_day else 0,
        day_tokens=row.day_tokens if row and same_day else 0,
        month=month,
        month_requests=row.month_requests if row and same_month else 0,
        month_tokens=row.month_tokens if row and same_month else 0,
    )


def _windows(at_s: int) -> tuple[int, int]:
    """Numbers of day and month since the epoch."""
    date = time.gmtime(at_s)
    return at_s // DAY_S, (date.tm_year - 1970) * 12 + date.tm_mon - 1


def _left(budget: OutflowBudget, row: LedgerRow) -> tuple[int, int]:
    """Requests and tokens."""
    is_day = budget.window is BudgetWindow.DAY
    requests, tokens = (row.day_requests, row.day_tokens) if is_day else (row.month_requests, row.month_tokens)
    return (
        NO_LIMIT if budget.requests is None else budget.requests - requests,
        NO_LIMIT if budget.tokens is None else budget.tokens - tokens,
    )


def _window_left_s(window: BudgetWindow, at_s: int) -> int:
    if window is BudgetWindow.DAY:
        return DAY_S - at_s % DAY_S
    end = at_s
    while _windows(end)[1] == _windows(at_s)[1]:
        end += DAY_S - end % DAY_S
    return end - at_s


def _with(row: LedgerRow, given: Grant) -> LedgerRow:
    handed = {"requests": given.requests, "tokens": given.tokens}
    names = [(f"{window}_{kind}", kind) for window in ("day", "month") for kind in handed]
    counts = {name: min(COUNT_MOST, getattr(row, name) + handed[kind]) for name, kind in names}
    return row.model_copy(update=counts)
