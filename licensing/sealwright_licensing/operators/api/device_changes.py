"""What operators change about devices (policies/spec/licence.md, 7 to 9)."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from sealwright_licensing.operations import devices as operations
from sealwright_licensing.operators.api.bodies import FirmwareApproval, Nothing, Resumption, TransferOrder
from sealwright_licensing.operators.api.changes import Change, changes, make_change
from sealwright_licensing.operators.api.desk import Desk, ResourceId, principal_of
from sealwright_licensing.operators.api.devices import require_device
from sealwright_licensing.operators.api.tags import device_tag
from sealwright_licensing.operators.guards import RepeatedError
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.views import DeviceView, View, view_device
from sealwright_licensing.records import Device
from sealwright_licensing.store import Transaction

_CHANGE = Permission.DEVICES_CHANGE


class TransferView(View):
    """A device that is to be replaced, and the code for the one that replaces it. A repeated request shows none."""

    device: DeviceView
    activation_code: str | None


def router(desk: Desk) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/devices", tags=["devices"])

    @routes.post("/{device_id}/resume", summary="Let a held device go on",
                 **changes(_CHANGE, Resumption, tagged=True))  # fmt: skip
    async def resume(request: Request, device_id: ResourceId) -> DeviceView:
        def make(change: Change, asked: Resumption) -> Device:
            return operations.resume_device(
                change.store, change.actor, device_id, history=asked.history, now=change.now
            )

        await make_change(desk, request, Resumption, make, subject=_subject(request, device_id))
        return await desk.run(lambda: _view(desk, device_id))

    @routes.post("/{device_id}/retire", summary="End a device's enrolment",
                 **changes(_CHANGE, Nothing, tagged=True))  # fmt: skip
    async def retire(request: Request, device_id: ResourceId) -> DeviceView:
        def make(change: Change, _: Nothing) -> Device:
            return operations.retire_device(change.store, change.actor, device_id, now=change.now)

        await make_change(desk, request, Nothing, make, subject=_subject(request, device_id))
        return await desk.run(lambda: _view(desk, device_id))

    @routes.post("/{device_id}/transfer", status_code=201, summary="Draw a code for the box that takes its place",
                 **changes(_CHANGE, TransferOrder, keyed=TransferView, tagged=True))  # fmt: skip
    async def transfer(request: Request, response: Response, device_id: ResourceId) -> TransferView:
        def make(change: Change, asked: TransferOrder) -> str:
            made = operations.transfer_device(
                change.store, change.actor, device_id, at_once=asked.at_once, now=change.now
            )
            return made.activation_code

        try:
            code: str | None = await make_change(
                desk, request, TransferOrder, make, subject=_subject(request, device_id), resource=device_id
            )
        except RepeatedError:
            code, response.status_code = None, 200
        return TransferView(device=await desk.run(lambda: _view(desk, device_id)), activation_code=code)

    @routes.post("/{device_id}/approve-firmware", summary="Approve the changed firmware that a device has shown",
                 **changes(_CHANGE, FirmwareApproval, tagged=True))  # fmt: skip
    async def approve(request: Request, device_id: ResourceId) -> DeviceView:
        def make(change: Change, asked: FirmwareApproval) -> Device:
            return operations.approve_firmware(change.store, change.actor, device_id, asked.digest, now=change.now)

        await make_change(desk, request, FirmwareApproval, make, subject=_subject(request, device_id))
        return await desk.run(lambda: _view(desk, device_id))

    return routes


def _subject(request: Request, device_id: str) -> Callable[[Transaction], str]:
    return lambda transaction: device_tag(require_device(transaction, principal_of(request), device_id))


def _view(desk: Desk, device_id: str) -> DeviceView:
    with desk.store.read() as transaction:
        device = transaction.get(Device, device_id)
        assert device is not None  # noqa: S101 - devices are retired, never removed
        return view_device(transaction, device)
