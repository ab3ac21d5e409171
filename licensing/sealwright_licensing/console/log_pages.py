"""The append-only log (policies/spec/transparency.md, 7), searched and shown; verified it is by ``audit verify``."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import ConfigDict, Field

from sealwright_licensing.audit_search import SEARCHED, find_entries
from sealwright_licensing.console.day_filters import DayRange
from sealwright_licensing.console.forms import asked
from sealwright_licensing.console.guard import opens, visit_of
from sealwright_licensing.console.pages import Console, address
from sealwright_licensing.operators.api.pages import Filter
from sealwright_licensing.operators.errors import OperatorError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.records import LogEntryRecord
from sealwright_licensing.sequencer import newest_checkpoint

SHOWN = 50
_Index = Annotated[int, Field(ge=0, lt=2**53)]


class LogQuery(DayRange):
    """Which entries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Filter | None = None
    code: Filter | None = None
    device: Filter | None = None
    license: Filter | None = None
    subject: Filter | None = None
    before: _Index | None = None
    """Entry behind which the page begins."""


def router(console: Console) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/log")
    store = console.desk.store

    @routes.get("", **opens(Permission.OPERATIONS_READ))
    def listed(request: Request) -> Response:
        visit = visit_of(request)
        query = asked(request, LogQuery)
        given = query.model_dump(mode="json", exclude_none=True)
        wanted = {name: str(given[name]) for name in SEARCHED if name in given}
        found = find_entries(
            store.engine, wanted, since=query.first_second, until=query.end, before=query.before,
            limit=SHOWN + 1,
        )  # fmt: skip
        rows, path = found[:SHOWN], request.url.path
        following = address(path, given | {"before": rows[-1]["index"]}) if len(found) > SHOWN else None
        first = address(path, given | {"before": None}) if query.before is not None else None
        with store.read() as transaction:
            checkpoint = newest_checkpoint(transaction)
        pages = {"next_page": following, "first_page": first}
        return console.page(visit, "log.html", rows=rows, query=query, pages=pages, checkpoint=checkpoint)

    @routes.get("/{index}", **opens(Permission.OPERATIONS_READ))
    def shown(request: Request, index: Annotated[int, Path(ge=0, lt=2**53)]) -> Response:
        with store.read() as transaction:
            entry = transaction.get(LogEntryRecord, index)
        if entry is None:
            raise OperatorError(404, "NOT_FOUND", f"The log has no entry {index}.")
        members = json.loads(entry.leaf)
        rows = members.pop("rows", ())
        return console.page(visit_of(request), "log_entry.html", index=index, members=members, rows=rows)

    return routes
