"""Which rule lets a domain do something, or that none does (`sealwright-policy explain`).

A question is a verb and its words; each is answered from the domain's own keys. That all domains upstream agree was
verified before; the answer names their lines too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from sealwright_policies.appraisal.reference_values import version_key
from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.endpoints import Transport
from sealwright_policies.domains.limits import ENFORCERS, LIMITS
from sealwright_policies.domains.model import Answers, Counter, Domain, Form, Import, MemberKind, Opening, Retention
from sealwright_policies.domains.orders import listed, said
from sealwright_policies.domains.reader import DomainFile, Location
from sealwright_policies.errors import UsageError
from sealwright_policies.toml_location import dotted
from sealwright_policies.tpm_tier import TpmTier

USAGE: Final = {
    "egress": "HOST:PORT[/udp]",
    "flow": "DOMAIN FORM",
    "read": "DOMAIN",
    "run": "engine | writable_code | WORKLOAD",
    "import": "data-set | results",
    "open": "VERSION TIER [FEATURE]...",
    "return": "completions | embeddings | logprobs N | tokens_per_request N | tokens_per_day N | "
    "requests_per_minute N | requests_per_day N | model_tokens_per_day N | model_requests_per_day N",
    "keep": "prompts DAYS | results DAYS | logs DAYS",
    "report": "COUNTER | by_key",
}
"""The verbs, and what comes behind them."""


UNDONE: Final = {
    ("run", "writable_code"): "the IPE policy of every image forbids it all the same",
    ("flow", "aggregates"): "nothing in a box makes or moves aggregates",
}
"""What domains may let happen, and no box of today does; by verb and last word."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A key that decides."""

    allows: bool
    domain: str
    place: str
    key: str
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "allows": self.allows,
            "domain": self.domain,
            "place": self.place,
            "key": self.key,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer."""

    question: str
    grounds: tuple[Ground, ...]
    enforced_by: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether every key that decides allows it."""
        return all(ground.allows for ground in self.grounds)


def explain(domains: Domains, name: str, verb: str, words: Sequence[str]) -> Explanation:
    """Answer a question about one domain.

    Raises:
        UsageError: no such verb or domain, or words that do not fit it.
    """
    answer = _ANSWERS.get(verb)
    if answer is None:
        raise UsageError(f"no question {verb!r}; there are {listed(_ANSWERS)}")
    try:
        grounds = answer(domains, domains.by_name[name], list(words))
    except (ValueError, IndexError, ValidationError):
        grounds = None
    if not grounds:
        raise UsageError(f"{verb} {' '.join(words)}: expected {verb} {USAGE[verb]}")
    undone = UNDONE.get((verb, words[-1]))
    if undone is not None and all(one.allows for one in grounds):
        grounds = [*grounds, replace(grounds[0], allows=False, sentence=undone)]
    table = grounds[0].key.partition(".")[0].partition("[")[0]
    return Explanation(f"{name} {verb} {' '.join(words)}", tuple(grounds), ENFORCERS[table])


def _ground(source: DomainFile, location: Location, allows: bool, sentence: str) -> Ground:
    return Ground(allows, source.domain.name, source.place(location), dotted(location), sentence)


def _egress(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    (target,) = words
    address, _, transport = target.partition("/")
    host, _, port = address.rpartition(":")
    host, protocol = host.strip("[]"), Transport(transport or "tcp")
    if not host:
        raise ValueError(target)
    return [_reached(each, host, int(port), protocol) for each in (source, *domains.upstream(source.domain.name))]


def _reached(source: DomainFile, host: str, port: int, protocol: Transport) -> Ground:
    for index, one in enumerate(source.domain.egress):
        if (one.port, one.protocol) == (port, protocol) and (one.host == host or _holds(one.networks, host)):
            return _ground(source, ("egress", index), True, f"{one} at {listed(map(str, one.networks))}")
    return _ground(source, ("egress",), False, f"only {listed(map(str, source.domain.egress))}")


def _holds(networks: Sequence[Any], host: str) -> bool:
    """The packet filter goes by addresses, so an address may be asked for as well."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address.version == one.version and address in one for one in networks)


def _flow(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    target, form = words[0], Form(words[1])
    if len(words) != 2:
        raise ValueError(form)
    grounds = [
        _let_go(each, target, form)
        for each in (source, *domains.upstream(source.domain.name))
        if each.domain.name != target
    ]
    taker = domains.by_name.get(target)
    if taker is None:
        raise UsageError(f"there is no domain {target!r} here")
    return [*grounds, _taken(taker, source.domain.name, form)]


def _read(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    """Whether workloads of a domain see members and data sets of another, or of its own."""
    (target,) = words
    if target != source.domain.name:
        above = domains.by_name.get(target)
        if above is None:
            raise UsageError(f"there is no domain {target!r} here")
        return [_own_workloads(source), _let_go(above, source.domain.name, Form.RAW), _taken(source, target, Form.RAW)]
    return [_own_workloads(source)]


def _own_workloads(source: DomainFile) -> Ground:
    own = [one.id for one in source.domain.members(MemberKind.WORKLOAD) if one.id in source.domain.run.workloads]
    return _ground(source, ("run", "workloads"), bool(own), f"of its own workloads {listed(own)}")


def _taken(taker: DomainFile, name: str, form: Form) -> Ground:
    for index, chain in enumerate(taker.domain.chain):
        if chain.source == name:
            sentence = f"takes {listed(chain.forms)} from {name}"
            return _ground(taker, ("chain", index, "forms"), form in chain.forms, sentence)
    return _ground(taker, ("chain",), False, f"takes nothing from {name}")


def _let_go(source: DomainFile, target: str, form: Form) -> Ground:
    for index, flow in enumerate(source.domain.flow):
        if flow.to == target:
            sentence = f"lets {listed(flow.forms)} flow to {target}"
            return _ground(source, ("flow", index, "forms"), form in flow.forms, sentence)
    return _ground(source, ("flow",), False, f"lets nothing flow to {target}")


def _run(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    (what,) = words
    if what in ("engine", "writable_code"):
        return _with_upstream(domains, source, "run", what, lambda domain: bool(getattr(domain.run, what)))
    return _with_upstream(domains, source, "run", "workloads", lambda domain: what in domain.run.workloads)


def _import(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    """Whether the administrator of a box may put in files of a kind."""
    (kind,) = map(Import, words)
    return _with_upstream(domains, source, "run", "imports", lambda domain: kind in domain.run.imports)


def _open(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    version, tier, features = version_key(words[0]), TpmTier(words[1]), set(words[2:])
    checks: dict[str, Callable[[Opening], bool]] = {
        "from_version": lambda one: version >= version_key(one.from_version),
        "below_version": lambda one: version < version_key(one.below_version),
        "tiers": lambda one: tier in one.tiers,
        "features": lambda one: features.issuperset(one.features),
    }
    return [
        ground
        for key, check in checks.items()
        for ground in _with_upstream(domains, source, "open", key, lambda domain, check=check: check(domain.open))  # type: ignore[misc]
    ]


def _return(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    key, amount = words[0], int(words[1]) if len(words) == 2 else 1
    field = Answers.model_fields.get(key)
    if field is None or key == "pad_stream" or (field.annotation is int) != (len(words) == 2):
        raise ValueError(key)
    return _with_upstream(domains, source, "api", key, lambda domain: amount <= int(getattr(domain.api, key)))


def _keep(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    key, days = f"{words[0]}_days", int(words[1])
    if key not in Retention.model_fields or len(words) != 2:
        raise ValueError(key)
    return _with_upstream(domains, source, "retention", key, lambda domain: days <= int(getattr(domain.retention, key)))


def _report(domains: Domains, source: DomainFile, words: list[str]) -> list[Ground]:
    (what,) = words
    if what == "by_key":
        return _with_upstream(domains, source, "metering", "by_key", lambda domain: domain.metering.by_key)
    counter = Counter(what)
    return _with_upstream(domains, source, "metering", "counters", lambda domain: counter in domain.metering.counters)


def _with_upstream(
    domains: Domains, source: DomainFile, table: str, key: str, allows: Callable[[Domain], bool]
) -> list[Ground]:
    """The key of the domain itself, and the same key of each domain upstream."""
    limit = LIMITS[f"{table}.{key}"]
    return [
        _ground(each, limit.path, allows(each.domain), _value(limit.value(each.domain)))
        for each in (source, *domains.upstream(source.domain.name))
    ]


def _value(value: Any) -> str:
    return listed(value) if isinstance(value, tuple) else said(value)


_ANSWERS: Final[dict[str, Callable[[Domains, DomainFile, list[str]], list[Ground]]]] = {
    "egress": _egress,
    "flow": _flow,
    "read": _read,
    "run": _run,
    "import": _import,
    "open": _open,
    "return": _return,
    "keep": _keep,
    "report": _report,
}
