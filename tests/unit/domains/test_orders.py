"""The orders of keys are lattices, and the default of each is at their strict end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.domains.endpoints import Endpoint, Transport
from sealwright_policies.domains.fields import Table
from sealwright_policies.domains.limits import ENFORCERS, LIMITS, Limit
from sealwright_policies.domains.model import Counter, Domain, Flow, Form, Import, Level
from sealwright_policies.tpm_tier import TpmTier
from sealwright_testing.domain_texts import domain_text, parse

VERSIONS = st.sampled_from(["0", "1", "1.0", "1.2", "1.10", "2.0.1", "10"])
NAMES = st.sampled_from(["a", "b", "c"])
NETWORKS = [
    "192.0.2.0/24",
    "192.0.2.0/28",
    "192.0.2.16/28",
    "192.0.2.1",
    "198.51.100.0/24",
    "2001:db8::/64",
    "2001:db8::1",
]
ENDPOINTS = st.builds(
    Endpoint,
    host=st.sampled_from(["a.example", "b.example"]),
    port=st.sampled_from([80, 443]),
    protocol=st.sampled_from(Transport),
    addresses=st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=3, unique=True).map(tuple),
)
FLOWS = st.builds(Flow, to=NAMES, forms=st.lists(st.sampled_from(Form), min_size=1, max_size=3, unique=True).map(tuple))


def some(values: Any) -> Any:
    return st.lists(values, max_size=3, unique=True).map(tuple)


VALUES = {
    "level": st.sampled_from(Level),
    "open.from_version": VERSIONS,
    "open.below_version": VERSIONS,
    "open.tiers": some(st.sampled_from(TpmTier)),
    "open.features": some(NAMES),
    "run.workloads": some(NAMES),
    "run.imports": some(st.sampled_from(Import)),
    "egress": st.lists(ENDPOINTS, max_size=3, unique_by=str).map(tuple),
    "flow": st.lists(FLOWS, max_size=3, unique_by=lambda one: one.to).map(tuple),
    "metering.counters": some(st.sampled_from(Counter)),
}
KEYS = list(LIMITS)


def values_of(limit: Limit) -> Any:
    if limit.key in VALUES:
        return VALUES[limit.key]
    default = limit.value(parse(domain_text()).domain)
    return st.booleans() if isinstance(default, bool) else st.integers(0, 5)


def within(limit: Limit, one: Any, other: Any) -> bool:
    return not limit.order.beyond(one, other)


@pytest.mark.parametrize("key", KEYS)
@given(data=st.data())
def test_each_order_is_a_lattice(key: str, data: st.DataObject) -> None:
    limit = LIMITS[key]
    a, b, c = (data.draw(values_of(limit)) for _ in range(3))
    meet = limit.order.meet(a, b)
    assert within(limit, a, a)
    assert within(limit, meet, a)
    assert within(limit, meet, b)
    if within(limit, a, b) and within(limit, b, c):
        assert within(limit, a, c)
    if within(limit, c, a) and within(limit, c, b):
        assert within(limit, c, meet)


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("open.") and key != "level"])
@given(data=st.data())
def test_a_default_permits_no_more_than_any_value(key: str, data: st.DataObject) -> None:
    limit = LIMITS[key]
    assert within(limit, limit.value(parse(domain_text()).domain), data.draw(values_of(limit)))


PERMIT_NOTHING = {
    "schema_",
    "name",
    "owner.kind",
    "owner.name",
    "owner.key",
    "owner.vendor_workloads",  # each owner upstream is asked for his own signature anyhow
    "member",
    "chain",
    "resources.scratch_mib",
    "resources.results_mib",
    "resources.tasks",
}


def test_every_key_is_compared_or_permits_nothing() -> None:
    """A new key without an order would pass along every chain."""

    def keys(table: type[Table], path: tuple[str, ...]) -> set[str]:
        found = set()
        for name, field in table.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, Table):
                found |= keys(inner, (*path, name))
            else:
                found.add(".".join((*path, name)))
        return found

    assert keys(Domain, ()) == PERMIT_NOTHING | set(LIMITS)
    assert {key.partition(".")[0] for key in LIMITS} == set(ENFORCERS)


def test_a_network_that_reaches_further_is_wider() -> None:
    narrow = (Endpoint(host="a.example", port=443, addresses=("192.0.2.16/28",)),)
    wide = (Endpoint(host="a.example", port=443, addresses=("192.0.2.0/24",)),)
    order = LIMITS["egress"].order
    assert not order.beyond(narrow, wide)
    (excess,) = order.beyond(wide, narrow)
    assert (excess.index, excess.bound_index) == (0, 0)
    assert excess.allowed == "it at 192.0.2.16/28"
