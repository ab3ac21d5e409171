"""What operators are shown of the records: the same in the API, and in the command's JSON.

Times are seconds since the epoch by the service's clock. Nothing here holds a key, a code, a token or a share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict

from sealwright_licensing.device_views import device_view, firmware_fields
from sealwright_licensing.journal import last_codes
from sealwright_licensing.license_views import license_fields
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.tokens import last_uses
from sealwright_licensing.records import (
    Decision,
    Device,
    DeviceStatus,
    LeaseRecord,
    License,
    LicenseStatus,
    MakerCertificate,
    Operation,
    Overage,
    ReleaseRecord,
    RenewalBasis,
)
from sealwright_licensing.seats import seats_taken, seats_taken_of
from sealwright_licensing.store import Transaction
from sealwright_policies.wire.lease import EndBehaviour


class View(BaseModel):
    """Base of all that is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [fields]})


class LicenseView(View):
    """A licence."""

    model_config = _example(
        license_id="lic-0123456789ab", product="sealed-advisor", status="active", seats=5, seats_taken=2,
        seat_limit=6, overage="1.25", overage_seats=0, tiers=["discrete"], issued_at=1800000000, starts_at=1800000000,
        expires_at=1831536000, grace_s=0, at_end="close", renewal_basis="expiry", tick_budget=10284, lease_s=2592000,
        renew_after_s=86400, boots_without_contact=0, max_request_s=600, version_floor="1.4", allow_test_images=False,
        partitions=[], domains=[], features=[], note="Ward 3",
    )  # fmt: skip

    license_id: str
    product: str
    status: LicenseStatus
    seats: int
    seats_taken: int
    seat_limit: int | None
    """With the overage; None: unlimited."""
    overage: Overage
    overage_seats: int
    """Devices beyond the seats."""
    tiers: list[str]
    issued_at: int
    starts_at: int
    expires_at: int
    grace_s: int
    at_end: EndBehaviour
    renewal_basis: RenewalBasis
    tick_budget: int
    lease_s: int
    renew_after_s: int
    boots_without_contact: int
    max_request_s: int
    version_floor: str
    allow_test_images: bool
    partitions: list[str]
    domains: list[str]
    features: list[str]
    note: str


class DecisionSummary(View):
    """One verdict about one device."""

    decision_id: str
    device_id: str
    license_id: str
    purpose: str
    code: str
    """"ok" or a rejection code."""
    sentence: str
    decided_at: int


class DecisionView(DecisionSummary):
    """The same with the appraisal behind it."""

    words: list[str]
    """The appraisal, event by event, for people."""
    result: dict[str, Any] | None
    """The appraisal as an EAR-shaped document; None where it did not come to one."""


class LeaseView(View):
    """A lease that was signed. Its end is the first of four bounds that is met."""

    lease_id: str
    device_id: str
    license_id: str
    release_id: str
    number: int
    issued_at: int
    expires_at: int
    clock_end_ms: int
    max_reset_count: int
    max_ticks: int


class DeviceSummary(View):
    """A box in a list."""

    device_id: str
    license_id: str
    status: DeviceStatus
    held_code: str
    """Rejection code of a hold."""
    held_because: str
    tier: str
    enrolled_at: int
    seen_at: int
    last_code: str
    """Of the last decision; empty where there is none."""


class DeviceView(DeviceSummary):
    """A box, what its TPM last proved, its lease and its last decision."""

    tpm: dict[str, Any]
    reset_count: int
    restart_count: int
    clock_ms: int
    ticks: int
    first_ticks: int
    charged_ticks: int
    granted_ticks: int
    lease_number: int
    pinned_pcrs: dict[str, str]
    reported_pcrs: dict[str, str]
    firmware: dict[str, Any] | None
    """Pinned and, if it has shown others, shown values of PCR 0, 2, 3, the digest to approve, and what is different."""
    histories: list[dict[str, Any]]
    """Of a device that is said to be two, newest first."""
    lease: LeaseView | None
    last_decision: DecisionView | None


class ReleaseView(View):
    """An imported release."""

    release_id: str
    product: str
    version: str
    flavour: str
    manifest_key: str
    """Fingerprint of the key that signed its manifest."""
    imported_at: int
    withdrawn: bool


class RootView(View):
    """A TPM maker's certificate."""

    fingerprint: str
    tier: str
    """Empty for an intermediate, which is trusted no further than its chain."""
    subject: str
    added_at: int


class OperationView(View):
    """One act of an operator."""

    operation_id: str
    actor_kind: str
    actor: str
    operation: str
    subject: str
    detail: dict[str, Any]
    performed_at: int


class TokenView(View):
    """An API token, without the token."""

    token_id: str
    name: str
    role: str
    licenses: list[str]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


def view_license(transaction: Transaction, record: License) -> LicenseView:
    """A licence with its seats."""
    return LicenseView.model_validate(license_fields(record, seats_taken(transaction, record.license_id)))


def list_licenses(transaction: Transaction, records: Sequence[License]) -> list[LicenseView]:
    """Licences with their seats, in as many statements as one."""
    taken = seats_taken_of(transaction, [one.license_id for one in records])
    return [LicenseView.model_validate(license_fields(one, taken[one.license_id])) for one in records]


def list_devices(transaction: Transaction, records: Sequence[Device]) -> list[DeviceSummary]:
    """Boxes in a list, in as many statements as one."""
    codes = last_codes(transaction, [one.device_id for one in records])
    without = ("last_code",)
    return [
        DeviceSummary(**view_fields(one, DeviceSummary, without=without), last_code=codes.get(one.device_id, ""))
        for one in records
    ]


def view_device(transaction: Transaction, record: Device) -> DeviceView:
    """A box with its newest lease and decision."""
    seen = device_view(transaction, record.device_id)
    last = seen.decisions[0] if seen.decisions else None
    read = ("tpm", "pinned_pcrs", "reported_pcrs")
    other = ("last_code", "firmware", "histories", "lease", "last_decision", *read)
    return DeviceView(
        **view_fields(record, DeviceView, without=other),
        **{name: json.loads(getattr(record, name)) for name in read},
        last_code=last.code if last else "",
        firmware=firmware_fields(seen),
        histories=[asdict(one) for one in seen.sightings],
        lease=view_lease(seen.lease) if seen.lease else None,
        last_decision=view_decision(last) if last else None,
    )


def view_lease(record: LeaseRecord) -> LeaseView:
    """A lease."""
    return LeaseView(**view_fields(record, LeaseView))


def summarise_decision(record: Decision) -> DecisionSummary:
    """A decision in a list."""
    return DecisionSummary(**view_fields(record, DecisionSummary))


def view_decision(record: Decision) -> DecisionView:
    """A decision with its appraisal."""
    return DecisionView(
        **view_fields(record, DecisionSummary),
        words=record.words.splitlines(),
        result=json.loads(record.result) if record.result else None,
    )


def view_release(record: ReleaseRecord) -> ReleaseView:
    """A release."""
    return ReleaseView(**view_fields(record, ReleaseView))


def view_root(record: MakerCertificate) -> RootView:
    """A maker's certificate."""
    return RootView(**view_fields(record, RootView))


def view_operation(record: Operation) -> OperationView:
    """An operation."""
    return OperationView(**view_fields(record, OperationView, without=("detail",)), detail=json.loads(record.detail))


def list_tokens(transaction: Transaction, records: Sequence[ApiToken]) -> list[TokenView]:
    """Tokens, in as many statements as one."""
    used = last_uses(transaction, [one.token_id for one in records])
    without = ("licenses", "last_used_at")
    return [
        TokenView(
            **view_fields(one, TokenView, without=without),
            licenses=one.licenses.split(",") if one.licenses else [],
            last_used_at=used.get(one.token_id),
        )
        for one in records
    ]


def view_fields(record: object, kind: type[View], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that a record and what is shown of it have in common."""
    return {name: getattr(record, name) for name in kind.model_fields if name not in without}
