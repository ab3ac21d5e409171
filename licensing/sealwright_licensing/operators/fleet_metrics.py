"""Figures of the whole deployment, read from its database and its certificates when Prometheus asks."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from sealwright_custody.keeper import fingerprint
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.keys import certificates_in_use
from sealwright_licensing.operators.records import OperatorSession
from sealwright_licensing.records import (
    Device,
    DeviceStatus,
    License,
    LicenseStatus,
    PendingEnrollment,
    ReleaseRecord,
)
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tables import TABLES

_DAY_S = 86_400
ENDS_WITHIN_DAYS = (1, 7, 30)
_SHOWN_DIGITS = 16
"""Of a key's fingerprint, as `keys list` shows it."""


class _Fleet(Collector):
    def __init__(self, store: SqlStore, folder: ServiceFolder, now: int) -> None:
        self._store = store
        self._folder = folder
        self._now = now

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All gauges, of one moment."""
        with self._store.read() as transaction:
            devices = dict.fromkeys((one.value for one in DeviceStatus), 0) | transaction.count_by(Device, "status")
            holds = transaction.count_by(Device, "held_code", status=DeviceStatus.HELD.value)
            licenses = transaction.count_by(License, "status")
            pending = transaction.count(PendingEnrollment)
            releases = {str(gone).lower(): transaction.count(ReleaseRecord, withdrawn=gone) for gone in (False, True)}
            sessions = transaction.count(OperatorSession)
        yield _gauge("devices", "Devices by status", "status", devices)
        yield _gauge("holds", "Devices that wait for an operator's decision, by the code of the hold", "code", holds)
        yield _gauge("licenses", "Licences by status", "status", licenses)
        yield _gauge("licenses_ending", "Active licences that end within so many days", "days", self._ending())
        yield _gauge("releases", "Releases", "withdrawn", releases)
        yield _gauge("pending_enrollments", "Enrolments between challenge and proof", "", {"": pending})
        yield _gauge(
            "sessions", "Sessions of operators, ended ones included until they are removed", "", {"": sessions}
        )
        yield self._ends_of_certificates()

    def _ending(self) -> dict[str, int]:
        ends = TABLES[License].c.expires_at
        within = [func.count().filter(ends < self._now + days * _DAY_S) for days in ENDS_WITHIN_DAYS]
        soon = select(*within).where(TABLES[License].c.status == LicenseStatus.ACTIVE.value, ends >= self._now)
        with self._store.engine.connect() as connection:
            counts = connection.execute(soon).one()
        return {str(days): int(count) for days, count in zip(ENDS_WITHIN_DAYS, counts, strict=True)}

    def _ends_of_certificates(self) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(
            "sealwright_license_certificate_not_after_seconds",
            "When the service's certificates that are in use end, since the epoch",
            labels=["certificate", "key"],
        )
        ends: dict[tuple[str, str], float] = {}
        for role, one in certificates_in_use(self._folder.keys):
            key = one.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - we made it
            named = role.value, fingerprint(key)[:_SHOWN_DIGITS]
            ends[named] = min(ends.get(named, math.inf), one.not_valid_after_utc.timestamp())
        for named, end in sorted(ends.items()):
            gauge.add_metric(named, end)
        return gauge


def fleet_metrics(store: SqlStore, folder: ServiceFolder, *, now: int) -> bytes:
    """The deployment's figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Fleet(store, folder, now))
    return generate_latest(registry)


def _gauge(name: str, said: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"sealwright_license_{name}", said, labels=[label] if label else [])
    for value, number in sorted(values.items()):
        gauge.add_metric([value] if label else [], number)
    return gauge
