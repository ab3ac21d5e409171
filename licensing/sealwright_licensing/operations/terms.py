"""Terms of a licence: a new one, changed ones, and what may not be meant. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.leases import DAY_S, SPARE_TICKS, planned_boots, tick_budget
from sealwright_licensing.licenses import joined
from sealwright_licensing.records import License, LicenseStatus, Overage, RenewalBasis
from sealwright_policies.errors import UsageError
from sealwright_policies.wire.lease import EndBehaviour

DEFAULT_LEASE_DAYS = 30
DEFAULT_MAX_REQUEST_S = 600
CONTACT_S = DAY_S
"""Contact interval, or a quarter of the lease if that is shorter."""
MOST_SEATS = 100_000
MOST_DAYS = 3660
MOST_REQUEST_S = DAY_S
MOST_BOOTS = 1_000_000
LATEST_START = 4_102_444_800
"""2100-01-01, seconds since the epoch."""
MOST_FEATURES = 32
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
"""As boxes read them (wire.encoding.Identifier)."""
LISTED = ("tiers", "partitions", "domains", "features")
"""Fields that hold several names, comma-separated."""


def new_license(
    *,
    product: str,
    seats: int,
    days: int,
    tiers: Iterable[Tier],
    lease_days: int = DEFAULT_LEASE_DAYS,
    renew_after_s: int | None = None,
    max_request_s: int = DEFAULT_MAX_REQUEST_S,
    powered_on_hours: int | None = None,
    starts_at: int | None = None,
    grace_days: int = 0,
    overage: Overage = Overage.NONE,
    at_end: EndBehaviour = EndBehaviour.CLOSE,
    renewal_basis: RenewalBasis = RenewalBasis.EXPIRY,
    boots_without_contact: int = 0,
    partitions: Iterable[str] = (),
    domains: Iterable[str] = (),
    features: Iterable[str] = (),
    version_floor: str = "0",
    allow_test_images: bool = False,
    note: str = "",
    now: int,
) -> License:
    """A licence that lasts ``days`` from its start, which is now if nothing else is said.

    Args:
        powered_on_hours: running time of one box over that time; None lets it run all the time.

    Raises:
        UsageError: terms that cannot be meant.
    """
    start = now if starts_at is None else starts_at
    license_ = License(
        license_id=new_license_id(),
        product=product,
        seats=seats,
        tiers=joined(tier.value for tier in tiers),
        issued_at=now,
        expires_at=start + days * DAY_S,
        lease_s=lease_days * DAY_S,
        renew_after_s=renew_after_s or min(CONTACT_S, lease_days * DAY_S // 4),
        max_request_s=max_request_s,
        tick_budget=budget(days, powered_on_hours),
        version_floor=version_floor,
        allow_test_images=allow_test_images,
        status=LicenseStatus.ACTIVE,
        note=note,
        starts_at=start,
        overage=overage,
        grace_s=grace_days * DAY_S,
        at_end=at_end,
        renewal_basis=renewal_basis,
        boots_without_contact=boots_without_contact,
        partitions=joined(partitions),
        domains=joined(domains),
        features=joined(features),
    )
    require_meant(license_)
    return license_


def new_license_id() -> str:
    """Draw an id."""
    return f"lic-{secrets.token_hex(6)}"


def budget(days: int, powered_on_hours: int | None) -> int:
    """Ticks of one box for so many days, of which it runs so many hours; None: all of them."""
    if powered_on_hours is None:
        return tick_budget(days * DAY_S)
    return powered_on_hours + planned_boots(days * DAY_S) + SPARE_TICKS


@dataclass(frozen=True, slots=True)
class TermChanges:
    """What is to be different about a licence; None leaves a field as it is."""

    seats: int | None = None
    overage: Overage | None = None
    grace_s: int | None = None
    at_end: EndBehaviour | None = None
    renewal_basis: RenewalBasis | None = None
    tick_budget: int | None = None
    lease_s: int | None = None
    renew_after_s: int | None = None
    boots_without_contact: int | None = None
    max_request_s: int | None = None
    tiers: str | None = None
    allow_test_images: bool | None = None
    partitions: str | None = None
    domains: str | None = None
    features: str | None = None
    note: str | None = None

    def given(self) -> dict[str, object]:
        """The fields that are to change."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def changed(license_: License, changes: TermChanges) -> License:
    """The licence with changes.

    Raises:
        UsageError: nothing is changed, or the terms cannot be meant.
    """
    given: Mapping[str, object] = changes.given()
    if not given:
        raise UsageError("Say what is to be changed.")
    made = replace(license_, **given)  # type: ignore[arg-type]  # names and types are those of License
    require_meant(made)
    return made


def renewed(license_: License, *, days: int, powered_on_hours: int | None, now: int) -> License:
    """The licence with a later end, and the running time up to there added to its budget (licence.md, 5).

    Raises:
        UsageError: it was revoked; the end would be past, or not later than the present one.
    """
    if license_.status is LicenseStatus.REVOKED:
        raise UsageError(f"Licence {license_.license_id} was revoked; issue a new one.")
    since = license_.expires_at if license_.renewal_basis is RenewalBasis.EXPIRY else now
    expires_at = since + days * DAY_S
    if not 1 <= days <= MOST_DAYS or expires_at <= max(now, license_.expires_at):
        raise UsageError(
            f"{days} days from the licence's {'end' if since == license_.expires_at else 'renewal'} do not end later "
            "than it does now. Give more days."
        )
    added = budget(days, powered_on_hours)
    return replace(license_, expires_at=expires_at, tick_budget=license_.tick_budget + added)


def require_meant(license_: License) -> None:
    """Refuse terms outside their ranges; a box could not verify a lease under some of them.

    Raises:
        UsageError: which, and its range.
    """
    duration = license_.expires_at - license_.starts_at
    for name, value, least, most in (
        ("seats", license_.seats, 1, MOST_SEATS),
        ("starts_at", license_.starts_at, 0, LATEST_START),
        ("duration in seconds", duration, 1, 20 * MOST_DAYS * DAY_S),
        ("lease_s", license_.lease_s, 60, 366 * DAY_S),
        ("renew_after_s", license_.renew_after_s, 1, license_.lease_s),
        ("max_request_s", license_.max_request_s, 1, MOST_REQUEST_S),
        ("tick_budget", license_.tick_budget, 1, 2**53),
        ("grace_s", license_.grace_s, 0, MOST_DAYS * DAY_S),
        ("boots_without_contact", license_.boots_without_contact, 0, MOST_BOOTS),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} is {value}, expected {least} to {most}.")
    for name in LISTED:
        for one in filter(None, getattr(license_, name).split(",")):
            if not re.fullmatch(NAME_PATTERN, one):
                raise UsageError(f"{one!r} in {name} is no name: small letters, digits and ._- only, at most 64.")
    if len(license_.features.split(",")) > MOST_FEATURES:
        raise UsageError(f"A licence names at most {MOST_FEATURES} features.")
    if not license_.tiers:
        raise UsageError("A licence allows at least one tier of TPM.")
    for tier in license_.tiers.split(","):
        if tier not in set(Tier):
            raise UsageError(f"{tier!r} is no tier; expected one of {', '.join(Tier)}.")
