"""Entity tags: they change with what an operator decides, and not with each renewal of a box."""

from __future__ import annotations

import hashlib

from sealwright_licensing.records import Device, License, ReleaseRecord


def license_tag(record: License) -> str:
    """All of a licence."""
    return _tag(repr(record))


def device_tag(record: Device) -> str:
    """Enrolment and standing of a box; what its TPM proves with each renewal is left out."""
    return _tag(repr((record.device_id, record.license_id, record.enrollment_id, record.status, record.held_because)))


def release_tag(record: ReleaseRecord) -> str:
    """Whether it is withdrawn, and its ways through PCR 4."""
    return _tag(repr((record.release_id, record.withdrawn, record.variants)))


def _tag(text: str) -> str:
    return f'"{hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]}"'
