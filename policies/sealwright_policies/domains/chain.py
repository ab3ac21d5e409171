"""Which domains are downstream of which, and whether each is within all that it comes from (spec/domain.md, 4).

:func:`find_problems` judges a set of domains and lists everything that is wrong; :func:`verify_domains` returns
:class:`Domains`, the only way to get one, or raises. Pure: reading files is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sealwright_policies.domains.levels import beyond_level
from sealwright_policies.domains.limits import LIMITS, Limit
from sealwright_policies.domains.model import LEVELS, Flow, Form, Import, MemberKind
from sealwright_policies.domains.orders import Excess, listed
from sealwright_policies.domains.problems import Problem, problem_at
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.errors import RejectionCode, VerificationError

IMPORTS = ("run", "imports")


@dataclass(frozen=True, slots=True)
class Domains:
    """Domains that were judged together and found good."""

    by_name: Mapping[str, DomainFile]

    def __iter__(self) -> Iterator[DomainFile]:
        return iter(self.by_name.values())

    def upstream(self, name: str) -> tuple[DomainFile, ...]:
        """All domains that one is downstream of, nearest first."""
        return _upstream(self.by_name, name)

    def bounds(self, name: str) -> dict[str, Any]:
        """What the domains upstream allow at most, by key: their meet. Empty without any."""
        found: dict[str, Any] = {}
        for source in self.upstream(name):
            for key, limit in LIMITS.items():
                value = limit.value(source.domain)
                found[key] = limit.order.meet(found[key], value) if key in found else value
        return found


def verify_domains(files: Sequence[DomainFile]) -> Domains:
    """Judge domains together.

    Raises:
        VerificationError: the first problem; ``problems`` in its details holds all of them.
    """
    problems = find_problems(files)
    if problems:
        raise VerificationError(problems[0].code, str(problems[0]), problems=problems)
    return Domains({one.domain.name: one for one in sorted(files, key=lambda one: one.domain.name)})


def find_problems(files: Sequence[DomainFile]) -> tuple[Problem, ...]:
    """Everything that is wrong with domains as a set."""
    known: dict[str, DomainFile] = {}
    problems: list[Problem] = []
    for one in files:
        first = known.setdefault(one.domain.name, one)
        if first is not one:
            sentence = f"{one.domain.name!r} is already the name of the domain in {first.place(('name',))}."
            problems.append(problem_at(one, ("name",), RejectionCode.DOMAIN_CONFLICT, sentence))
    problems += _shared_members(known.values())
    problems += _trained_twice(known.values())
    for one in known.values():
        problems += _beyond_level(one)
        problems += _unknown_names(one, known)
        problems += _not_chained(one, known)
        problems += _without_trainer(one)
        problems += _downward_flows(one, known)
        problems += _circle(one, known)
        problems += _beyond_chain(one, known)
        problems += _reads_imports(one, known)
    return tuple(problems)


def _upstream(known: Mapping[str, DomainFile], name: str) -> tuple[DomainFile, ...]:
    """Breadth first; a domain in a circle is upstream of itself."""
    found: dict[str, DomainFile] = {}
    waiting = [name]
    while waiting:
        for chain in known[waiting.pop(0)].domain.chain:
            if chain.is_bound and chain.source in known and chain.source not in found:
                found[chain.source] = known[chain.source]
                waiting.append(chain.source)
    return tuple(found.values())


def _beyond_level(source: DomainFile) -> Iterator[Problem]:
    for limit, excess in beyond_level(source):
        sentence = f"{excess.found}, and level {source.domain.level.value} allows {excess.allowed}."
        yield problem_at(source, _location(limit, excess), RejectionCode.DOMAIN_EXCEEDS_LEVEL, sentence)


def _beyond_chain(source: DomainFile, known: Mapping[str, DomainFile]) -> Iterator[Problem]:
    told: set[tuple[str | int, ...]] = set()
    for above in _upstream(known, source.domain.name):
        for limit in LIMITS.values():
            for excess in excesses(limit, limit.value(source.domain), above):
                location = _location(limit, excess)
                if location in told:
                    continue
                told.add(location)
                sentence = (
                    f"{excess.found}, and {above.domain.name} upstream allows {excess.allowed}"
                    f" ({above.place(bound_location(limit, excess))})."
                )
                yield problem_at(source, location, RejectionCode.DOMAIN_EXCEEDS_CHAIN, sentence)


def _reads_imports(source: DomainFile, known: Mapping[str, DomainFile]) -> Iterator[Problem]:
    """What may be put in upstream is read beside what comes from the others: that is their say, too."""
    reads = _raw_upstream(known, source.domain.name)
    for above in _upstream(known, source.domain.name):
        own = _raw_upstream(known, above.domain.name)  # what these let in, it has taken for itself
        for name, by in reads.items():
            let_in = known[name].domain.run.imports
            if name == above.domain.name or name in own or Import.DATA_SET not in let_in:
                continue
            if Import.DATA_SET not in above.domain.run.imports:
                sentence = (
                    f"reads data sets that are put into {name} ({known[name].place(IMPORTS)}), and {above.domain.name}"
                    f" upstream allows imports of {listed(above.domain.run.imports)} ({above.place(IMPORTS)})."
                )
                yield problem_at(source, ("chain", by, "from"), RejectionCode.DOMAIN_EXCEEDS_CHAIN, sentence)


def _raw_upstream(known: Mapping[str, DomainFile], name: str) -> dict[str, int]:
    """All domains whose data sets come to one, from domain to domain, and the index of its chain by which they do."""
    chains = enumerate(known[name].domain.chain)
    waiting = [(chain.source, index) for index, chain in chains if Form.RAW in chain.forms]
    found: dict[str, int] = {}
    while waiting:
        source, by = waiting.pop()
        if source in known and source not in found:
            found[source] = by
            waiting += [(one.source, by) for one in known[source].domain.chain if Form.RAW in one.forms]
    return found


def excesses(limit: Limit, value: Any, above: DomainFile) -> tuple[Excess, ...]:
    """Where a value is wider than a domain upstream allows; what flows back to that domain needs no leave of it."""
    bound = limit.value(above.domain)
    if limit.path == ("flow",):
        bound = (*bound, *(Flow(to=one.to, forms=one.forms) for one in value if one.to == above.domain.name))
    return limit.order.beyond(value, bound)


def _location(limit: Limit, excess: Excess) -> tuple[str | int, ...]:
    return limit.path if excess.index is None else (*limit.path, excess.index)


def bound_location(limit: Limit, excess: Excess) -> tuple[str | int, ...]:
    """Where the bound of an excess stands in the file upstream."""
    return limit.path if excess.bound_index is None else (*limit.path, excess.bound_index)


def _not_chained(source: DomainFile, known: Mapping[str, DomainFile]) -> Iterator[Problem]:
    for index, chain in enumerate(source.domain.chain):
        above = known.get(chain.source)
        if above is None:
            continue
        offered = next((set(one.forms) for one in above.domain.flow if one.to == source.domain.name), set())
        if missing := set(chain.forms) - offered:
            sentence = (
                f"takes {listed(missing)} from {chain.source}, which lets"
                f" {listed(offered)} flow to {source.domain.name} ({above.place(_flow_to(above, source.domain.name))})."
            )
            yield problem_at(source, ("chain", index, "forms"), RejectionCode.DOMAIN_NOT_CHAINED, sentence)


def _flow_to(source: DomainFile, name: str) -> tuple[str | int, ...]:
    for index, flow in enumerate(source.domain.flow):
        if flow.to == name:
            return ("flow", index, "forms")
    return ("flow",)


def _downward_flows(source: DomainFile, known: Mapping[str, DomainFile]) -> Iterator[Problem]:
    for index, flow in enumerate(source.domain.flow):
        below = known.get(flow.to)
        bound = [form for form in flow.forms if form.is_bound]
        if below and bound and LEVELS.beyond(below.domain.level, source.domain.level):
            sentence = (
                f"{listed(bound)} would flow down from level {source.domain.level.value} to {flow.to},"
                f" which is {below.domain.level.value} ({below.place(('level',))})."
            )
            yield problem_at(source, ("flow", index, "forms"), RejectionCode.DOMAIN_EXCEEDS_LEVEL, sentence)


def _unknown_names(source: DomainFile, known: Mapping[str, DomainFile]) -> Iterator[Problem]:
    domain = source.domain
    named: list[tuple[tuple[str | int, ...], str]] = [
        *((("flow", index, "to"), one.to) for index, one in enumerate(domain.flow)),
        *((("chain", index, "from"), one.source) for index, one in enumerate(domain.chain)),
    ]
    for location, name in named:
        if name == domain.name:
            yield problem_at(source, location, RejectionCode.DOMAIN_CONFLICT, "a domain needs no leave of its own.")
        elif name not in known:
            sentence = f"there is no domain {name!r}; put its file {name}.toml beside this one."
            yield problem_at(source, location, RejectionCode.DOMAIN_UNKNOWN, sentence)
    workloads = {one.id for each in known.values() for one in each.domain.members(MemberKind.WORKLOAD)}
    for name in sorted(set(domain.run.workloads) - workloads):
        sentence = f"{name!r} is a workload of no domain here."
        yield problem_at(source, ("run", "workloads"), RejectionCode.DOMAIN_UNKNOWN, sentence)
    models = {model.id for each in readable(known, domain.name) for model in each.domain.members(MemberKind.MODEL)}
    for index, member in enumerate(domain.member):
        if member.base is not None and member.base not in models:
            sentence = f"{member.base!r} is no model of this domain or of one that it takes raw data from."
            yield problem_at(source, ("member", index, "base"), RejectionCode.DOMAIN_UNKNOWN, sentence)


def _without_trainer(source: DomainFile) -> Iterator[Problem]:
    """A trainer has a unit in the domain of its adapter, or there is none that would run."""
    domain = source.domain
    own = {one.id for one in domain.members(MemberKind.WORKLOAD)} & set(domain.run.workloads)
    for index, member in enumerate(domain.member):
        if member.trainer is None:
            continue
        if member.trainer not in own:
            sentence = f"{member.trainer!r} is no workload of this domain that may run in it."
            yield problem_at(source, ("member", index, "trainer"), RejectionCode.DOMAIN_UNKNOWN, sentence)
        elif not (domain.run.own_adapters and domain.run.engine):
            sentence = "an adapter with a trainer needs run.engine, and run.own_adapters of at least 1."
            yield problem_at(source, ("member", index, "trainer"), RejectionCode.DOMAIN_CONFLICT, sentence)


def _trained_twice(files: Iterable[DomainFile]) -> Iterator[Problem]:
    """A model's adapters are asked for under its name, so they lie in one place; and a trainer has one place."""
    first: dict[str, tuple[DomainFile, int]] = {}
    for source in files:
        for index, member in enumerate(source.domain.member):
            if member.trainer is None:
                continue
            for taken in (f"model {member.base}", f"trainer {member.trainer}"):
                other, at = first.setdefault(taken, (source, index))
                if (other, at) != (source, index):
                    sentence = f"{taken} has adapters of the customer already ({other.place(('member', at, 'id'))})."
                    yield problem_at(source, ("member", index, "trainer"), RejectionCode.DOMAIN_CONFLICT, sentence)


def readable(known: Mapping[str, DomainFile], name: str) -> tuple[DomainFile, ...]:
    """The domains whose members and data sets a domain's programs may read: itself and those that it takes ``raw``."""
    source = known[name]
    above = (one.source for one in source.domain.chain if "raw" in one.forms and one.source in known)
    return (source, *(known[one] for one in above))


def _shared_members(files: Iterable[DomainFile]) -> Iterator[Problem]:
    owners: dict[str, tuple[DomainFile, int]] = {}
    for source in files:
        for index, member in enumerate(source.domain.member):
            first, at = owners.setdefault(member.id, (source, index))
            if first is not source:
                sentence = f"{member.id!r} is a member of {first.domain.name} ({first.place(('member', at, 'id'))})."
                yield problem_at(source, ("member", index, "id"), RejectionCode.DOMAIN_CONFLICT, sentence)


def _circle(source: DomainFile, known: Mapping[str, DomainFile]) -> Iterator[Problem]:
    if any(one is source for one in _upstream(known, source.domain.name)):
        sentence = f"{source.domain.name} is downstream of itself; a chain of bound forms must begin somewhere."
        yield problem_at(source, ("chain",), RejectionCode.DOMAIN_CONFLICT, sentence)
