"""Where the members and places of a domain are mounted, and how: data for the agent (policies/spec/domain.md, 7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sealwright_policies.domains.compiler.units import PAYLOADS, RESULTS
from sealwright_policies.domains.model import Domain, MemberKind

EVERY: Final = ("nodev", "nosuid")


def mounts(domain: Domain) -> dict[str, Any]:
    """The mounts, JSON-ready. Options are mount(8)'s."""
    return {"version": 1, "mounts": sorted(_mounts(domain), key=lambda one: str(one["path"]))}


def _mounts(domain: Domain) -> Iterator[dict[str, Any]]:
    for member in domain.member:
        runs = member.kind is MemberKind.WORKLOAD and member.id in domain.run.workloads
        options = ["ro", *EVERY, *([] if runs else ["noexec"])]
        yield {"path": f"{PAYLOADS}/{member.id}", "member": member.id, "kind": member.kind.value, "options": options}
    if domain.resources.results_mib:
        options = ["rw", *EVERY, "noexec"]
        yield {"path": f"{RESULTS}/{domain.name}", "size_mib": domain.resources.results_mib, "options": options}
