"""From domains to the list of workloads that a box goes by (policies/spec/domain.md, 7)."""

from __future__ import annotations

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.compiler.units import Program, units_of
from sealwright_policies.workloads import ReleaseWorkloads, WorkloadPlan


def workloads(domains: Domains) -> ReleaseWorkloads:
    """All workloads that may run."""
    plans = {
        unit.member: WorkloadPlan(domain=unit.domain.name, reads=unit.reads, results=unit.results is not None)
        for source in domains
        for unit in units_of(domains, source.domain.name)
        if unit.program is Program.WORKLOAD
    }
    return ReleaseWorkloads(version=1, workloads=dict(sorted(plans.items())))
