"""Leases: how long, how many boots and how many ticks (policies/spec/lease.md). Pure but for signing.

Calendar time is mapped onto the TPM's Clock at the quote. Clock stands still while the box is off and may go back at a
power cut, so boots and ticks bound the same lease a second and a third time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.keys import SigningKeys
from sealwright_licensing.licenses import covered, grace_end
from sealwright_licensing.records import Device, License
from sealwright_policies.appraisal.reference_values import Manifest
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.transparency.release_proof import ReleaseProof
from sealwright_policies.wire.lease import (
    EndBehaviour,
    LeaseTerms,
    LeaseWarning,
    LicenseTerms,
    sign_lease,
    warning_level,
)

DAY_S = 86_400
TICK_INTERVAL_S = 3_600
"""The box ticks once per boot and then at this interval."""
LEAST_BOOTS = 50
BOOTS_PER_DAY = 4
SPARE_TICKS = 24
"""For renewals that come late and ticks that come early."""
_LAST_CLOCK_MS = 2**62
"""Above this only TPM2_Clear and a new enrolment help."""


@dataclass(frozen=True, slots=True)
class ProvenState:
    """What an accepted evidence proved, and the device's account of ticks."""

    clock_ms: int
    reset_count: int
    ticks: int
    first_ticks: int
    charged_ticks: int

    @classmethod
    def of(cls, device: Device) -> ProvenState:
        """The same of a device's record."""
        return cls(device.clock_ms, device.reset_count, device.ticks, device.first_ticks, device.charged_ticks)


@dataclass(frozen=True, slots=True)
class LeaseBounds:
    """The ends of a lease. ``expires_at`` in seconds since the epoch."""

    expires_at: int
    clock_end_ms: int
    max_reset_count: int
    max_ticks: int


@dataclass(frozen=True, slots=True)
class SignedLease:
    """A lease as it travels, with its terms."""

    token: str
    terms: LeaseTerms
    payload_ids: tuple[str, ...]


def tick_budget(duration_s: int) -> int:
    """Ticks of a box that runs all the time: one an interval, and one per planned boot."""
    return math.ceil(duration_s / TICK_INTERVAL_S) + planned_boots(duration_s) + SPARE_TICKS


def planned_boots(duration_s: int) -> int:
    """Resets that a time of this length has room for."""
    return max(LEAST_BOOTS, math.ceil(duration_s / DAY_S * BOOTS_PER_DAY))


def budget_end(license_: License, state: ProvenState) -> int:
    """Value of the tick counter at which the licence's running time for a device is used up."""
    return state.first_ticks + license_.tick_budget - state.charged_ticks


def lease_boots(license_: License, duration_s: int) -> int:
    """Resets that a lease of this length allows under a licence."""
    return license_.boots_without_contact or planned_boots(duration_s)


def bound_lease(license_: License, state: ProvenState, *, now: int) -> LeaseBounds:
    """Decide the ends of a lease that is issued now.

    Raises:
        VerificationError: BUDGET_EXHAUSTED: the licence's ticks for this box are used up, or its Clock is.
    """
    expires_at = now + license_.lease_s
    if license_.at_end is EndBehaviour.CLOSE:
        expires_at = min(grace_end(license_), expires_at)
    duration_s = expires_at - now
    last_tick = budget_end(license_, state)
    if state.ticks >= last_tick:
        raise VerificationError(
            RejectionCode.BUDGET_EXHAUSTED,
            f"the licence's running time for this box is used up ({license_.tick_budget} ticks)",
            expected=last_tick,
            found=state.ticks,
        )
    clock_end_ms = state.clock_ms + duration_s * 1000
    if clock_end_ms >= _LAST_CLOCK_MS:
        raise VerificationError(
            RejectionCode.BUDGET_EXHAUSTED, "the TPM's Clock was set so far ahead that no lease can follow it"
        )
    return LeaseBounds(
        expires_at=expires_at,
        clock_end_ms=clock_end_ms,
        max_reset_count=min(state.reset_count + lease_boots(license_, duration_s), 2**32 - 1),
        max_ticks=min(last_tick, state.ticks + tick_budget(duration_s)),
    )


def lease_warnings(
    license_: License, state: ProvenState, *, resets: int, elapsed_s: int, now: int
) -> list[LeaseWarning]:
    """What the customer's administrator should know.

    Args:
        resets: resets of the TPM since the last contact.
        elapsed_s: seconds since the last contact.
    """
    warnings = [*_end_warnings(license_, now=now), *_budget_warnings(license_, state, now=now)]
    if resets > planned_boots(elapsed_s):
        message = f"The TPM was reset {resets} times since the last contact: check the power supply."
        warnings.append(LeaseWarning(code="RESETS_BEYOND_PLAN", message=message))
    return warnings


def _end_warnings(license_: License, *, now: int) -> list[LeaseWarning]:
    left_s = license_.expires_at - now
    if left_s > 0:
        is_near = warning_level(left_s) is not None
        return [LeaseWarning(code="LICENSE_ENDS", message=f"The licence ends in {_left(left_s)}.")] if is_near else []
    if license_.at_end is EndBehaviour.KEEP_RELEASES:
        return [LeaseWarning(code="LICENSE_ENDED", message="The licence has ended; later releases are not leased.")]
    message = f"The licence has ended; boxes renew for another {_left(grace_end(license_) - now)}."
    return [LeaseWarning(code="LICENSE_IN_GRACE", message=message)]


def _budget_warnings(license_: License, state: ProvenState, *, now: int) -> list[LeaseWarning]:
    """Of running time that is used up before the licence ends; a box that may run all the time is not warned twice."""
    left_s = (budget_end(license_, state) - state.ticks) * TICK_INTERVAL_S
    if warning_level(left_s) is None or left_s >= license_.expires_at - now > 0:
        return []
    message = f"{_left(left_s)} of running time are left of {license_.tick_budget} hours."
    return [LeaseWarning(code="BUDGET_LOW", message=message)]


def _left(seconds: int) -> str:
    return f"{seconds // DAY_S} days" if seconds >= 2 * DAY_S else f"{seconds // 3600} hours"


def license_terms(license_: License, device: Device) -> LicenseTerms:
    """What a device is told of its licence."""
    return LicenseTerms(
        ends_at=license_.expires_at,
        grace_ends_at=grace_end(license_),
        at_end=license_.at_end,
        budget_end_ticks=max(0, budget_end(license_, ProvenState.of(device))),
        features=license_.features.split(",") if license_.features else [],
    )


def issue_lease(
    keys: SigningKeys,
    license_: License,
    device: Device,
    bounds: LeaseBounds,
    manifest: Manifest,
    *,
    lease_id: str,
    release_id: str,
    unseal_pcrs: Mapping[str, str],
    number: int,
    next_nonce: bytes,
    warnings: list[LeaseWarning],
    log: ReleaseProof,
    now: int,
) -> SignedLease:
    """Sign a lease of number N for one release on one device."""
    terms = LeaseTerms(
        version=1,
        lease_id=lease_id,
        device_id=device.device_id,
        license_id=device.license_id,
        release_id=release_id,
        srk_name=parse_public(device.srk_public).name.hex(),
        tick_counter_name=device.tick_counter_name.hex(),
        lease_counter_name=device.lease_counter_name.hex(),
        unseal_pcrs=dict(unseal_pcrs),
        clock_end_ms=bounds.clock_end_ms,
        max_reset_count=bounds.max_reset_count,
        max_ticks=bounds.max_ticks,
        number=number,
        next_nonce=next_nonce,
        issued_at=now,
        expires_at=bounds.expires_at,
        max_request_s=license_.max_request_s,
        renew_after_s=license_.renew_after_s,
        license=license_terms(license_, device),
        warnings=warnings,
        log=log,
    )
    opened = covered(license_, Tier(device.tier), manifest)
    partitions = {payload.verity.root_hash: payload.payload_id for payload in opened}
    token = sign_lease(terms, partitions, keys.lease_policy, keys.lease_document)
    return SignedLease(token, terms, tuple(partitions.values()))
