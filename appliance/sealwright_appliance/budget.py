"""How long the box may still be used, and when it warns: 30, 7 and 1 days ahead (policies/spec/lease.md, 7). Pure."""

from __future__ import annotations

from sealwright_appliance.status import BudgetStatus, LeaseStatus
from sealwright_policies.wire.lease import DAY_S, EndBehaviour, warning_level

TICK_S = 3600
LEASE_WARNING_MOST_DAYS = 7
"""A lease is renewed long before its end; that it is not is worth a warning only then, and behind its half."""

LICENSE_ENDS, LICENSE_IN_GRACE, BUDGET_LOW, LEASE_ENDS = "LICENSE_ENDS", "LICENSE_IN_GRACE", "BUDGET_LOW", "LEASE_ENDS"


def remaining(lease: LeaseStatus, *, clock_ms: int, ticks: int, now: int) -> BudgetStatus:
    """What is left of the licence, of its running time for this box, and of the lease; the nearest end that is near.

    Args:
        clock_ms, ticks: of the TPM.
        now: calendar, seconds since the epoch. A clock that is behind the TPM's is not believed.
    """
    license_ = lease.license
    today = max(now, lease.expires_at - (lease.clock_end_ms - clock_ms) // 1000)
    license_end, code = license_.ends_at, LICENSE_ENDS
    if today >= license_.ends_at:
        license_end, code = license_.grace_ends_at, LICENSE_IN_GRACE
    license_left_s = max(0, license_end - today)
    budget_left_s = max(0, license_.budget_end_ticks - ticks) * TICK_S
    lease_left_s = max(0, min(lease.expires_at - today, (lease.max_ticks - ticks) * TICK_S))
    ends = [(budget_left_s, warning_level(budget_left_s), BUDGET_LOW)]
    if license_.at_end is not EndBehaviour.KEEP_RELEASES:
        ends.append((license_left_s, warning_level(license_left_s), code))
    if lease_left_s * 2 < lease.expires_at - lease.issued_at:
        level = warning_level(lease_left_s)
        ends.append((lease_left_s, level if level and level <= LEASE_WARNING_MOST_DAYS else None, LEASE_ENDS))
    left_s, level, warning = min(ends, key=lambda end: (end[1] is None, end[0]))
    return BudgetStatus(
        warning=warning if level else None,
        level_days=level,
        left_s=left_s if level else None,
        sentence=_sentence(warning, left_s) if level else "",
        license_left_s=license_left_s,
        budget_left_s=budget_left_s,
        lease_left_s=lease_left_s,
    )


def _sentence(warning: str, left_s: int) -> str:
    days = left_s / DAY_S
    left = f"{days:.0f} days" if days >= 2 else f"{left_s // 3600} hours"
    match warning:
        case "BUDGET_LOW":
            return f"{left} of running time are left under the licence."
        case "LEASE_ENDS":
            return f"The lease ends in {left} and has not been renewed: the licence service is not reached, or refuses."
        case "LICENSE_IN_GRACE":
            return f"The licence has ended; the box can be used for another {left}."
        case _:
            return f"The licence ends in {left}."
