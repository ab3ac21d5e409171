"""Alarms: what an operator must look at. A warning in the log, and a count by code for whoever exports metrics."""

from __future__ import annotations

import threading
from collections import Counter

from sealwright_licensing.logs import logger
from sealwright_policies.errors import RejectionCode

_lock = threading.Lock()
_counts: Counter[RejectionCode] = Counter()


def raise_alarm(code: RejectionCode, *, device_id: str, license_id: str) -> None:
    """Say that a device is held, and why."""
    with _lock:
        _counts[code] += 1
    logger.warning("alarm", extra={"code": code.value, "device_id": device_id, "license_id": license_id})


def alarm_counts() -> dict[RejectionCode, int]:
    """Alarms of this process since its start, by code."""
    with _lock:
        return dict(_counts)
