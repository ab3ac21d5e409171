"""What was decided and done: the journals of decisions and of operations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from sealwright_licensing.console.day_filters import DayRange
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.languages import values
from sealwright_licensing.console.lists import find_list
from sealwright_licensing.console.marks import utc
from sealwright_licensing.console.pages import Console
from sealwright_licensing.operators.api.decisions import DecisionQuery
from sealwright_licensing.operators.api.pages import Filter, ListQuery
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.records import Decision, Operation


class DecisionDays(DecisionQuery, DayRange):
    """Which decisions."""


class OperationQuery(ListQuery, DayRange):
    """Which operations."""

    subject: Filter | None = None
    operation: Filter | None = None


def router(console: Console) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    store = console.desk.store

    @routes.get("/decisions", **opens(Permission.DECISIONS_READ))
    def decisions(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, DecisionDays)
        wanted = {name: getattr(query, name) for name in ("device_id", "license_id", "purpose", "code")}
        found = find_list(
            store, visit, Decision, query, order=("decided_at", "decision_id"), equal=wanted,
            since=query.first_second, until=query.last_second,
        )  # fmt: skip
        return console.page(visit, "decisions.html", found=found)

    @routes.get("/operations", **opens(Permission.OPERATIONS_READ))
    def operations(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, OperationQuery)
        found = find_list(
            store, visit, Operation, query, order=("performed_at", "operation_id"), bound=False,
            equal={"subject": query.subject, "operation": query.operation},
            since=query.first_second, until=query.last_second,
        )  # fmt: skip
        details = {one.operation_id: _shown(json.loads(one.detail)) for one in found.rows}
        return console.page(visit, "operations.html", found=found, details=details, known=sorted(values("operation")))

    return routes


def _shown(detail: Mapping[str, Any]) -> dict[str, str]:
    """What an operation changed, without what says nothing; times as times."""
    given = {name: value for name, value in detail.items() if value not in (None, "", [], {})}
    return {name: utc(value) if name.endswith("_at") else str(value) for name, value in given.items()}
