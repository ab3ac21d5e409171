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
        one.name: _results(one, domains) for one in (source.domain for source in domains) if one.resources.results_mib
    }
    return ReleaseWorkloads(
        version=1,
        workloads=dict(sorted(plans.items())),
        adapters=dict(sorted(adapters.items())),
        results=dict(sorted(results.items())),
    )


def _adapter(domain: Domain, member: Member) -> AdapterPlan:
    return AdapterPlan(
        domain=domain.name,
        base=str(member.base),
        trainer=member.trainer,
        own=0 if member.trainer is None else domain.run.own_adapters,
        days=domain.retention.results_days,
    )


def _results(domain: Domain, domains: Domains) -> ResultsPlan:
    """What may become a file of the domain: of adapters its own, and those of domains that take adapters from it."""
    forms = {form for flow in domain.flow for form in flow.forms}
    takers = [flow.to for flow in domain.flow if Form.ADAPTER in flow.forms]
    named = [
        domain,
        *(domains.by_name[name].domain for name in takers if _takes(domains, name, domain.name, Form.ADAPTER)),
    ]
    adapters = sorted(
        member.id for one in named for member in one.members(MemberKind.ADAPTER) if member.trainer is None
    )
    own = sorted(one.id for one in domain.members(MemberKind.WORKLOAD) if one.id in domain.run.workloads)
    return ResultsPlan(
        mib=domain.resources.results_mib,
        days=domain.retention.results_days,
        adapters=tuple(adapters) if Form.ADAPTER in forms else (),
        results=tuple(own) if Form.RESULTS in forms else (),
    )


def _takes(domains: Domains, name: str, source: str, form: Form) -> bool:
    taker = domains.by_name.get(name)
    return taker is not None and any(one.source == source and form in one.forms for one in taker.domain.chain)


def _plan(unit: Unit, domains: Domains) -> WorkloadPlan:
    own = unit.domain.name
    flows_to = {one.to for one in unit.domain.flow if Form.METRICS in one.forms}
    metrics_to = {own, *(name for name in flows_to if _takes(domains, name, own, Form.METRICS))}
    told = any(
        domains.by_name[name].domain.owner.kind is OwnerKind.CUSTOMER for name in metrics_to if name in domains.by_name
    )
    return WorkloadPlan(
        domain=unit.domain.name, reads=unit.reads, files=unit.files, metrics=told and unit.results is not None
    )
