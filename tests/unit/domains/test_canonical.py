"""The canonical form follows from what a domain says, and from nothing else."""

from __future__ import annotations

import json

import pytest

from sealwright_policies.domains.canonical import canonical_form, domain_digest
from sealwright_testing.domain_texts import domain_text, example_texts, parse, parse_texts, replaced


def digest(text: str) -> bytes:
    return domain_digest(parse(text).domain)


def test_spelling_order_and_comments_make_no_difference() -> None:
    plain = domain_text(
        more='\n[[flow]]\nto = "a"\nforms = ["raw", "metrics"]\n\n[[flow]]\nto = "b"\nforms = ["raw"]\n'
    )
    other = domain_text(more='flow = [{forms = ["raw"], to = "b"}, {forms = ["metrics", "raw"], to = "a"}]\n').replace(
        "[owner]", "# whose\n[owner]"
    )
    moved = "flow" + other.partition("\nflow")[2] + other.partition("\nflow")[0] + "\n"
    assert digest(plain) == digest(moved)


def test_a_default_that_is_written_out_makes_no_difference() -> None:
    assert digest(domain_text(more="\n[api]\nlogprobs = 0\n\n[run]\nengine = false\n")) == digest(domain_text())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"somebody"', '"somebody else"'),
        ('"internal"', '"sealed"'),
        ("features = []", 'features = ["x"]'),
        ("features = []", "features = []\n[api]\nlogprobs = 1"),
        ("features = []", "features = []\n[resources]\ntasks = 1"),
    ],
)
def test_what_is_said_makes_a_difference(old: str, new: str) -> None:
    assert digest(replaced(domain_text(), old, new)) != digest(domain_text())


def test_the_form_is_sorted_compact_json() -> None:
    for source in parse_texts(example_texts()):
        form = canonical_form(source.domain)
        assert form == json.dumps(json.loads(form), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(domain_digest(source.domain)) == 32
