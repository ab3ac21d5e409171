"""From domains to the list of workloads and adapters that a box goes by (policies/spec/domain.md, 7)."""

from __future__ import annotations

from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.compiler.units import Program, Unit, units_of
from sealwright_policies.domains.model import Domain, Form, Member, MemberKind, OwnerKind
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, ResultsPlan, WorkloadPlan


def workloads(domains: Domains) -> ReleaseWorkloads:
    """All workloads that may run, and all adapters that may be served."""
    units = [unit for source in domains for unit in units_of(domains, source.domain.name)]
    plans = {unit.member: _plan(unit, domains) for unit in units if unit.program is Program.WORKLOAD}
    adapters = {
        member.id: _adapter(source.domain, member)
        for source in domains
        if source.domain.run.engine
        for member in source.domain.members(MemberKind.ADAPTER)
    }
    results = {
        one.name: ResultsPlan(mib=one.resources.results_mib, days=one.retention.results_days)
        for one in (source.domain for source in domains)
        if one.resources.results_mib
    }
    return ReleaseWorkloads(
        version=1,
        workloads=dict(sorted(plans.items())),
        adapters=dict(sorted(adapters.items())),
        results=dict(sorted(results.items())),
    )


def _adapter(domain: Domain, member: Member) -> AdapterPlan:
    if member.trainer is None:
        return AdapterPlan(domain=domain.name, base=str(member.base))
    return AdapterPlan(
        domain=domain.name,
        base=str(member.base),
        trainer=member.trainer,
        own=domain.run.own_adapters,
        days=domain.retention.results_days,
    )


def _plan(unit: Unit, domains: Domains) -> WorkloadPlan:
    metrics_to = {unit.domain.name, *(one.to for one in unit.domain.flow if Form.METRICS in one.forms)}
    told = any(
        domains.by_name[name].domain.owner.kind is OwnerKind.CUSTOMER for name in metrics_to if name in domains.by_name
    )
    return WorkloadPlan(domain=unit.domain.name, reads=unit.reads, metrics=told and unit.results is not None)
