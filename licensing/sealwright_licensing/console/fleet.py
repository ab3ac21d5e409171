"""The fleet in numbers, and what in it waits for a person: counted and cut off by the database, never row by row here.

One fixed number of statements, however many boxes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, case, func, select
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain
from sealwright_licensing.records import (
    Device,
    DeviceFirmware,
    DeviceRelease,
    DeviceStatus,
    LeaseRecord,
    License,
    LicenseStatus,
    ReleaseRecord,
)
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import OperationError

DAY_S = 86_400
SHOWN = 8
"""Rows of each list on the first page."""
ENDING_S, ALARMS_S = 30 * DAY_S, 30 * DAY_S
LEASE_ENDS = (("over", 0), ("day", DAY_S), ("week", 7 * DAY_S), ("month", 30 * DAY_S))
"""Names of the classes of lease ends, and where each ends, seconds from now; "later" is behind them."""

_devices, _leases, _licenses = TABLES[Device], TABLES[LeaseRecord], TABLES[License]
_firmware, _alarms, _chains = TABLES[DeviceFirmware], TABLES[MeteringAlarm], TABLES[MeteringChain]
_runs, _releases = TABLES[DeviceRelease], TABLES[ReleaseRecord]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """The first rows of a list, and how many there are."""

    rows: Sequence[Row]
    number: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the first page shows."""

    by_status: Mapping[str, int]
    by_tier: Mapping[str, int]
    by_release: Sequence[Row]
    """Devices by the release that they last proved, most first."""
    by_lease_end: Mapping[str, int]
    licenses: Mapping[str, int]
    held: Listed
    firmware: Listed
    ending: Listed
    disputed: Listed
    alarms: Listed

    @property
    def waiting(self) -> int:
        """Things that need a person's decision."""
        return self.held.number + self.firmware.number + self.disputed.number


def read_fleet(engine: Engine, *, now: int) -> Fleet:
    """Count and list.

    Raises:
        OperationError: the database cannot be read.
    """
    try:
        with engine.connect() as connection:
            return _read(connection, now)
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        raise OperationError(f"The database cannot be read: {said}.", cure="Check that it runs.") from error


def lease_ends(engine: Engine, device_ids: Iterable[str]) -> dict[str, int]:
    """When the last lease of each of these devices ends."""
    query = select(_leases.c.device_id, func.max(_leases.c.expires_at)).where(
        _leases.c.device_id.in_(tuple(device_ids))
    )
    with engine.connect() as connection:
        return {device_id: int(end) for device_id, end in connection.execute(query.group_by(_leases.c.device_id))}


def _read(connection: Connection, now: int) -> Fleet:
    kinds = connection.execute(
        select(_devices.c.status, _devices.c.tier, func.count()).group_by(_devices.c.status, _devices.c.tier)
    ).all()
    by_status = {status.value: sum(n for of, _, n in kinds if of == status) for status in DeviceStatus}
    tiers = sorted({tier for status, tier, _ in kinds if status != DeviceStatus.RETIRED})
    licenses = dict.fromkeys((one.value for one in LicenseStatus), 0)
    counted = connection.execute(select(_licenses.c.status, func.count()).group_by(_licenses.c.status))
    return Fleet(
        by_status=by_status,
        by_tier={t: sum(n for s, of, n in kinds if of == t and s != DeviceStatus.RETIRED) for t in tiers},
        by_release=_by_release(connection),
        by_lease_end=_by_lease_end(connection, now),
        licenses=licenses | {str(status): int(n) for status, n in counted},
        held=Listed(_held(connection), by_status[DeviceStatus.HELD]),
        firmware=_firmware_waiting(connection),
        ending=_ending(connection, now),
        disputed=_listed(connection, select(_chains).where(_chains.c.disputed), _chains.c.reported_at),
        alarms=_listed(connection, select(_alarms).where(_alarms.c.raised_at >= now - ALARMS_S), _alarms.c.raised_at),
    )


def _by_release(connection: Connection) -> list[Row]:
    others = _runs.alias()
    newest = select(func.max(others.c.seen_at)).where(others.c.device_id == _runs.c.device_id).scalar_subquery()
    number = func.count().label("number")
    counted = (
        select(_runs.c.release_id, number)
        .where(_runs.c.seen_at == newest)
        .group_by(_runs.c.release_id)
        .order_by(number.desc())
        .limit(SHOWN)
        .subquery()
    )
    named = select(counted, _releases.c.product, _releases.c.version, _releases.c.withdrawn).join_from(
        counted, _releases, _releases.c.release_id == counted.c.release_id, isouter=True
    )
    return [dict(row) for row in connection.execute(named.order_by(counted.c.number.desc())).mappings()]


def _by_lease_end(connection: Connection, now: int) -> dict[str, int]:
    last = select(func.max(_leases.c.expires_at)).where(_leases.c.device_id == _devices.c.device_id).scalar_subquery()
    ends = select(func.coalesce(last, 0).label("at")).where(_devices.c.status == DeviceStatus.LIVE.value).subquery()
    classes = case(*((ends.c.at <= now + bound, name) for name, bound in LEASE_ENDS), else_="later")
    counted = {str(name): int(n) for name, n in connection.execute(select(classes, func.count()).group_by(classes))}
    return {name: counted.get(name, 0) for name in (*(name for name, _ in LEASE_ENDS), "later")}


def _held(connection: Connection) -> list[Row]:
    names = ("device_id", "license_id", "held_code", "held_because", "seen_at")
    query = select(*(_devices.c[name] for name in names)).where(_devices.c.status == DeviceStatus.HELD.value)
    return _rows(connection, query.limit(SHOWN))


def _firmware_waiting(connection: Connection) -> Listed:
    query = (
        select(_devices.c.device_id, _devices.c.license_id, _firmware.c.shown_at)
        .join_from(_firmware, _devices, _devices.c.device_id == _firmware.c.device_id)
        .where(_firmware.c.shown_at > 0, _firmware.c.shown_pcrs.not_in(("", "{}")))
        .where(_devices.c.approved_pcrs != _firmware.c.shown_pcrs, _devices.c.pinned_pcrs != _firmware.c.shown_pcrs)
        .where(_devices.c.status != DeviceStatus.RETIRED.value)
    )
    return _listed(connection, query, _firmware.c.shown_at)


def _ending(connection: Connection, now: int) -> Listed:
    names = ("license_id", "product", "note", "expires_at", "grace_s")
    query = select(*(_licenses.c[name] for name in names)).where(
        _licenses.c.status == LicenseStatus.ACTIVE.value,
        _licenses.c.expires_at > now - ENDING_S,
        _licenses.c.expires_at <= now + ENDING_S,
    )
    return _listed(connection, query, _licenses.c.expires_at, newest=False)


def _listed(connection: Connection, query: Any, order: Any, *, newest: bool = True) -> Listed:
    number = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    shown = query.order_by(order.desc() if newest else order).limit(SHOWN)
    return Listed(_rows(connection, shown), int(number))


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]
