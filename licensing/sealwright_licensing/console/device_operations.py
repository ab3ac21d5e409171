"""What is done to devices, releases, tokens and disputed receipts (:mod:`sealwright_licensing.operations`)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sealwright_licensing.baselines import stored_pcrs
from sealwright_licensing.console.operation_forms import Field, OperationForm, Outcome, Subject, Task
from sealwright_licensing.console.pages import Visit
from sealwright_licensing.device_views import device_view, firmware_fields
from sealwright_licensing.firmware import firmware_digest
from sealwright_licensing.metering_records import MeteringReceipt
from sealwright_licensing.operations import devices as operations
from sealwright_licensing.operations.metering import settle_chain
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.operators.api.devices import require_device
from sealwright_licensing.operators.api.releases import require_release
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.tokens import known_token, revoke_token
from sealwright_licensing.records import ClockSighting, Device, DeviceFirmware, DeviceStatus, ReleaseRecord
from sealwright_licensing.store import Transaction

MOST_HISTORY = 1_000_000


class Verdict(StrEnum):
    """What becomes of disputed receipts."""

    COUNT = "count"
    DISCARD = "discard"


def _resume(task: Task) -> Outcome:
    history = task.form.number_or_none("history", 1, MOST_HISTORY)
    operations.resume_device(task.store, task.actor, task.subject, history=history, now=task.now)
    return Outcome()


def _resume_fields(transaction: Transaction, device: Device) -> Sequence[Field]:
    seen = transaction.find(ClockSighting, newest_first="number", limit=100, device_id=device.device_id)
    histories = sorted({str(one.history) for one in seen})
    return [Field("history", "select", "", ("", *histories))] if histories else []


def _retire(task: Task) -> Outcome:
    operations.retire_device(task.store, task.actor, task.subject, now=task.now)
    return Outcome()


def _transfer(task: Task) -> Outcome:
    at_once = task.form.is_ticked("at_once")
    made = operations.transfer_device(task.store, task.actor, task.subject, at_once=at_once, now=task.now)
    return Outcome([made.activation_code])


def _approve(task: Task) -> Outcome:
    operations.approve_firmware(task.store, task.actor, task.subject, task.form.text("digest", most=64), now=task.now)
    return Outcome()


def _approve_fields(transaction: Transaction, device: Device) -> Sequence[Field]:
    firmware = transaction.get(DeviceFirmware, device.device_id)
    shown = stored_pcrs(firmware.shown_pcrs) if firmware else {}
    return [Field("digest", "hidden", firmware_digest(shown))] if shown else []


def _approve_details(transaction: Transaction, device: Device) -> dict[str, object]:
    return {"firmware": firmware_fields(device_view(transaction, device.device_id))}


def _settle(task: Task) -> Outcome:
    verdict = task.form.choice("verdict", Verdict)
    chain = task.form.text("chain_id", most=128)
    settle_chain(task.store, task.actor, task.subject, chain, count=verdict is Verdict.COUNT, now=task.now)
    return Outcome()


def _settle_fields(transaction: Transaction, device: Device) -> Sequence[Field]:
    options = sorted(transaction.count_by(MeteringReceipt, "chain_id", device_id=device.device_id, disputed=True))
    return [
        Field("chain_id", "select", options[0] if options else "", options),
        Field("verdict", "select", Verdict.COUNT, tuple(Verdict)),
    ]


def _withdraw(task: Task) -> Outcome:
    withdraw_release(task.store, task.actor, task.subject, now=task.now)
    return Outcome()


def _find(transaction: Transaction, visit: Visit, device_id: str) -> Device:
    return require_device(transaction, visit.known.principal, device_id)


def _find_release(transaction: Transaction, _visit: Visit, release_id: str) -> ReleaseRecord:
    return require_release(transaction, release_id)


def _revoke_token(task: Task) -> Outcome:
    revoke_token(task.store, task.actor, task.subject, now=task.now)
    return Outcome()


def _find_token(transaction: Transaction, _visit: Visit, token_id: str) -> ApiToken:
    return known_token(transaction, token_id)


def _is_enrolled(device: Device) -> bool:
    return device.status is not DeviceStatus.RETIRED


DEVICES = Subject(
    "device", "/devices", Permission.DEVICES_CHANGE, _find,
    (
        OperationForm("resume", _resume, _resume_fields, lambda device: device.status is DeviceStatus.HELD),
        OperationForm("approve-firmware", _approve, _approve_fields, lambda _device: False, _approve_details),
        OperationForm("settle", _settle, _settle_fields, lambda _device: False),
        OperationForm(
            "transfer", _transfer, lambda _t, _d: [Field("at_once", "tick")], _is_enrolled, draws_codes=True
        ),
        OperationForm("retire", _retire, offered=_is_enrolled, is_grave=True),
    ),
)  # fmt: skip
"""Approving firmware and settling receipts are offered where the values and the chain stand."""
TOKENS = Subject(
    "token", "/tokens", Permission.TOKENS_REVOKE, _find_token,
    (OperationForm("revoke", _revoke_token, offered=lambda token: token.revoked_at is None, is_grave=True),),
)  # fmt: skip
RELEASES = Subject(
    "release", "/releases", Permission.RELEASES_CHANGE, _find_release,
    (OperationForm("withdraw", _withdraw, offered=lambda release: not release.withdrawn, is_grave=True),),
)  # fmt: skip
