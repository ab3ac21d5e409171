"""What became wider, what narrower, what changed otherwise."""

from __future__ import annotations

import pytest

from sealwright_policies.domains.difference import compare
from sealwright_testing.domain_texts import domain_text, example_texts, parse

FLOW = '\n[[flow]]\nto = "a"\nforms = ["{form}"]\n'


def changes(old: str, new: str) -> list[tuple[str, str]]:
    return [(one.direction.value, one.key) for one in compare(parse(old), parse(new))]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("\n[api]\nlogprobs = 2\n", "api.logprobs"),
        ("\n[api]\npad_stream = false\n", "api.pad_stream"),
        ("\n[run]\nengine = true\n", "run.engine"),
        ('\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n', "egress[0]"),
        (FLOW.format(form="raw"), "flow[0]"),
        ("\n[retention]\nlogs_days = 1\n", "retention.logs_days"),
        ('\n[metering]\ncounters = ["requests"]\n', "metering.counters"),
    ],
)
def test_more_is_wider_and_less_is_narrower(more: str, key: str) -> None:
    assert changes(domain_text(), domain_text(more=more)) == [("wider", key)]
    assert changes(domain_text(more=more), domain_text()) == [("narrower", key)]


def test_an_exchange_is_both() -> None:
    old, new = domain_text(more=FLOW.format(form="raw")), domain_text(more=FLOW.format(form="metrics"))
    found = compare(parse(old), parse(new))
    assert [(one.direction, one.sentence, one.place) for one in found] == [
        ("wider", "metrics to a, was only raw to a", "small.toml: line 15"),
        ("narrower", "raw to a, now only metrics to a", "small.toml: line 15"),
    ]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('\n[[member]]\nkind = "model"\nid = "m"\n', "member"),
        ('\n[[chain]]\nfrom = "a"\nforms = ["raw"]\n', "chain"),
        ("\n[resources]\ntasks = 9\n", "resources.tasks"),
    ],
)
def test_what_has_no_order_is_changed(more: str, key: str) -> None:
    assert changes(domain_text(), domain_text(more=more)) == [("changed", key)]


def test_what_means_the_same_is_no_difference() -> None:
    for text in example_texts().values():
        assert changes(text, text + "\n# a comment\n") == []
