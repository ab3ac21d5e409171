"""/api/v1/metering: what boxes have served, what was odd about their receipts, and the operator's word about it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain
from sealwright_licensing.metering_reports import UsageQuery, disputed_lines, totals
from sealwright_licensing.operations.metering import settle_chain
from sealwright_licensing.operators.api.bodies import Settlement
from sealwright_licensing.operators.api.changes import Change, changes, make_change
from sealwright_licensing.operators.api.desk import Desk, ResourceId, needs, principal_of
from sealwright_licensing.operators.api.devices import require_device
from sealwright_licensing.operators.api.pages import Filter, ListQuery, Page, alone, find_page
from sealwright_licensing.operators.api.tags import device_tag
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import View, view_fields
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import RejectionCode, VerificationError

_BY = ("month", "license_id", "model", "alias")


class UsageTotals(BaseModel):
    """Which usage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    license_id: Filter | None = None
    device_id: Filter | None = None
    month: Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")] | None = None
    """UTC month of receipt."""


class UsageRow(View):
    """Counts of one month, licence, model and key; the alias is empty for the model's own lease time."""

    month: str
    license_id: str
    model: str
    alias: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    busy_ms: int
    lease_ms: int


class UsageView(View):
    """Usage added up. What is disputed is left out until somebody settles it."""

    usage: list[UsageRow]
    disputed: int


class AlarmQuery(ListQuery):
    """Which alarms."""

    license_id: Filter | None = None
    device_id: Filter | None = None


class AlarmView(View):
    """Something that was found about a device's receipts."""

    alarm_id: str
    device_id: str
    license_id: str
    chain_id: str
    sequence: int
    code: str
    sentence: str
    raised_at: int


class SettledView(View):
    """How many receipts were disputed."""

    receipts: int
    counted: bool
    left: int
    """Further ones of the chain, which the same again is about."""


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/metering", tags=["metering"])

    @routes.get("/usage", summary="Add up usage", **needs(Permission.METERING_READ))
    def used(request: Request, query: Annotated[UsageTotals, Query()]) -> UsageView:
        wanted = UsageQuery(query.license_id, query.month, query.device_id, among=principal_of(request).licenses)
        found = totals(desk.store.engine, wanted, *_BY)
        rows = [UsageRow(**dict(zip(_BY, key, strict=True)), **counts) for key, counts in found.items()]
        return UsageView(usage=rows, disputed=disputed_lines(desk.store.engine, wanted))

    @routes.get("/alarms", summary="List what was odd about receipts", **needs(Permission.METERING_READ))
    def alarms(request: Request, query: Annotated[AlarmQuery, Query()]) -> Page[AlarmView]:
        return find_page(
            desk.store, MeteringAlarm, alone(lambda record: AlarmView(**view_fields(record, AlarmView))), query,
            order=("raised_at", "alarm_id"), scope=principal_of(request),
            equal={"license_id": query.license_id, "device_id": query.device_id},
        )  # fmt: skip

    @routes.post("/{device_id}/{chain_id}/settle", summary="Decide about a chain's disputed receipts",
                 **changes(Permission.DEVICES_CHANGE, Settlement))  # fmt: skip
    async def settle(request: Request, device_id: ResourceId, chain_id: ResourceId) -> SettledView:
        def make(change: Change, asked: Settlement) -> SettledView:
            settled = settle_chain(change.store, change.actor, device_id, chain_id, count=asked.count, now=change.now)
            return SettledView(receipts=settled.receipts, counted=asked.count, left=settled.left)

        def subject(transaction: Transaction) -> str:
            principal, chain = principal_of(request), transaction.get(MeteringChain, device_id, chain_id)
            if chain is not None and not principal.sees(chain.license_id):  # of an earlier enrolment
                raise VerificationError(RejectionCode.METERING_CHAIN, f"there is no chain {chain_id} of {device_id}")
            return device_tag(require_device(transaction, principal, device_id))

        return await make_change(desk, request, Settlement, make, subject=subject)

    return routes
