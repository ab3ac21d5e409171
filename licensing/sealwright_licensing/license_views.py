"""A licence as it is shown: members for programs, sentences for people."""

from __future__ import annotations

import datetime

from sealwright_licensing.leases import DAY_S
from sealwright_licensing.licenses import grace_end
from sealwright_licensing.records import License
from sealwright_licensing.seats import overage_seats, seat_limit


def names(listed: str) -> list[str]:
    """A field that lists names."""
    return listed.split(",") if listed else []


def license_fields(license_: License, taken: int) -> dict[str, object]:
    """All that there is about a licence, with the seats that are taken."""
    return {
        "license_id": license_.license_id,
        "product": license_.product,
        "status": license_.status.value,
        "seats": license_.seats,
        "seats_taken": taken,
        "seat_limit": seat_limit(license_),
        "overage": license_.overage.value,
        "overage_seats": overage_seats(license_, taken),
        "tiers": names(license_.tiers),
        "issued_at": license_.issued_at,
        "starts_at": license_.starts_at,
        "expires_at": license_.expires_at,
        "grace_s": license_.grace_s,
        "at_end": license_.at_end.value,
        "renewal_basis": license_.renewal_basis.value,
        "tick_budget": license_.tick_budget,
        "lease_s": license_.lease_s,
        "renew_after_s": license_.renew_after_s,
        "boots_without_contact": license_.boots_without_contact,
        "max_request_s": license_.max_request_s,
        "version_floor": license_.version_floor,
        "allow_test_images": license_.allow_test_images,
        "partitions": names(license_.partitions),
        "domains": names(license_.domains),
        "features": names(license_.features),
        "note": license_.note,
    }


def license_words(license_: License, taken: int, *, now: int) -> list[str]:
    """The same in sentences."""
    limit, beyond = seat_limit(license_), overage_seats(license_, taken)
    lines = [
        f"Licence {license_.license_id} for {license_.product} is {license_.status.value}.",
        f"Seats: {taken} of {license_.seats} taken; overage {license_.overage.value}"
        f"{'' if limit is None else f', at most {limit} boxes'}.",
        f"From {_day(license_.starts_at)} until {_day(license_.expires_at)} UTC, then {license_.at_end.value}; "
        f"grace {license_.grace_s // DAY_S} days; renewals count from {license_.renewal_basis.value}.",
        f"Leases of {license_.lease_s / DAY_S:g} days, contact every {license_.renew_after_s} s; "
        f"{license_.tick_budget} ticks of running time for each box.",
        f"Versions from {license_.version_floor} on, TPMs: {license_.tiers}.",
        f"Payloads: {license_.partitions or 'all'}. Domains: {license_.domains or 'all'}. "
        f"Features: {license_.features or 'none'}.",
    ]
    if beyond:
        lines.append(f"Overage: {beyond} boxes beyond the seats.")
    if now < license_.starts_at:
        lines.append("It has not begun yet.")
    elif now >= grace_end(license_):
        lines.append("It has ended.")
    elif now >= license_.expires_at:
        lines.append(f"It has ended; boxes renew in grace until {_day(grace_end(license_))} UTC.")
    return lines


def _day(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")
