"""From domains to the options with which a box mounts payloads (policies/spec/domain.md, 7)."""

from __future__ import annotations

from typing import Final

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.model import Domain, Member, MemberKind
from sealwright_policies.mounts import MountOption, ReleaseMounts

EVERY: Final[tuple[MountOption, ...]] = (MountOption.READ_ONLY, MountOption.NO_DEVICES, MountOption.NO_SETUID)
INERT: Final[tuple[MountOption, ...]] = (MountOption.NO_PROGRAMS, MountOption.NO_LINKS)
"""Of what is data. A workload's programs are run, and links in its image lead where their builder wanted."""


def mounts(domains: Domains) -> ReleaseMounts:
    """The options of all members that are payloads; an adapter is no volume."""
    options = {
        member.id: _options(member, source.domain)
        for source in domains
        for member in source.domain.member
        if member.kind is not MemberKind.ADAPTER
    }
    return ReleaseMounts(version=1, options=dict(sorted(options.items())))


def _options(member: Member, domain: Domain) -> tuple[MountOption, ...]:
    runs = member.kind is MemberKind.WORKLOAD and member.id in domain.run.workloads
    return EVERY if runs else (*EVERY, *INERT)
