"""The shipped domains: what each lets happen, and what it forbids."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_policies.domains.explanation import explain
from sealwright_policies.domains.model import Level
from sealwright_testing.domain_texts import EXAMPLES, examples
from sealwright_testing.held_domains import held_example

DOMAINS = examples()

FORBIDDEN = [
    ("medical-model", "egress api.example:443"),
    ("medical-model", "return logprobs 1"),
    ("medical-model", "return embeddings"),
    ("medical-model", "return tokens_per_day 200001"),
    ("medical-model", "return requests_per_minute 61"),
    ("medical-model", "return requests_per_day 2001"),
    ("medical-model", "return model_tokens_per_day 1000001"),
    ("medical-model", "return model_requests_per_day 10001"),
    ("medical-model", "flow clinic raw"),
    ("medical-model", "flow finance-model metrics"),
    ("medical-model", "run document-index"),
    ("medical-model", "run writable_code"),
    ("medical-model", "open 1.4 software"),
    ("medical-model", "open 2.0 discrete"),
    ("medical-model", "open 0.9 discrete"),
    ("medical-model", "keep prompts 1"),
    ("medical-model", "keep results 366"),
    ("medical-model", "keep logs 31"),
    ("medical-model", "report busy_ms"),
    ("medical-model", "report by_key"),
    ("oncology-records", "flow clinic raw"),
    ("oncology-records", "flow clinic aggregates"),
    ("oncology-records", "flow medical-model raw"),
    ("oncology-records", "open 1.0 discrete"),  # without the feature
    ("oncology-records", "open 1.0 firmware training"),
    ("oncology-records", "run document-index"),
    ("oncology-training", "flow clinic adapter"),
    ("oncology-training", "flow clinic results"),
    ("oncology-training", "flow medical-model adapter"),
    ("oncology-training", "egress 192.0.2.20:443"),
    ("oncology-training", "return tokens_per_request 1025"),
    ("oncology-training", "return tokens_per_day 50001"),
    ("oncology-training", "return requests_per_minute 21"),
    ("oncology-training", "return requests_per_day 501"),
    ("oncology-training", "return model_tokens_per_day 200001"),
    ("oncology-training", "return model_requests_per_day 2001"),
    ("oncology-training", "keep results 91"),
    ("oncology-training", "keep logs 1"),
    ("oncology-training", "report prompt_tokens"),
    ("finance-model", "return logprobs 6"),
    ("finance-model", "return tokens_per_request 8193"),
    ("finance-model", "return requests_per_minute 301"),
    ("finance-model", "return model_tokens_per_day 5000001"),
    ("finance-model", "egress 192.0.2.20:443"),
    ("finance-model", "flow clinic metrics"),
    ("finance-model", "keep prompts 8"),
    ("finance-model", "run lora-training"),
    ("clinic", "egress documents.clinic.example:80"),
    ("clinic", "egress documents.clinic.example:443/udp"),
    ("clinic", "egress 192.0.2.32:443"),
    ("clinic", "flow medical-model raw"),
    ("clinic", "run engine"),
    ("clinic", "return completions"),
    ("clinic", "return embeddings"),
    ("clinic", "return tokens_per_day 1"),
    ("clinic", "return requests_per_minute 1"),
    ("clinic", "return requests_per_day 1"),
    ("clinic", "return model_tokens_per_day 1"),
    ("clinic", "return model_requests_per_day 1"),
    ("clinic", "report copying_alarms"),
    ("clinic", "keep prompts 91"),
    ("clinic", "report requests"),
]
ALLOWED = [
    ("medical-model", "flow oncology-training raw"),
    ("medical-model", "run engine"),
    ("medical-model", "open 1.4 firmware"),
    ("medical-model", "return tokens_per_day 200000"),
    ("medical-model", "return requests_per_minute 60"),
    ("medical-model", "return requests_per_day 2000"),
    ("medical-model", "return model_tokens_per_day 1000000"),
    ("medical-model", "return model_requests_per_day 10000"),
    ("medical-model", "keep results 365"),
    ("medical-model", "keep logs 30"),
    ("medical-model", "report prompt_tokens"),
    ("oncology-records", "open 1.0 discrete training"),
    ("oncology-records", "run lora-training"),
    ("oncology-training", "flow clinic metrics"),
    ("oncology-training", "run lora-training"),
    ("oncology-training", "return completions"),
    ("oncology-training", "return tokens_per_request 1024"),
    ("oncology-training", "report lease_ms"),
    ("finance-model", "return logprobs 5"),
    ("finance-model", "return embeddings"),
    ("finance-model", "return requests_per_minute 300"),
    ("finance-model", "return requests_per_day 20000"),
    ("finance-model", "return model_tokens_per_day 5000000"),
    ("finance-model", "return model_requests_per_day 100000"),
    ("finance-model", "keep prompts 7"),
    ("finance-model", "open 2.9.9 software"),
    ("finance-model", "report by_key"),
    ("finance-model", "report copying_alarms"),
    ("clinic", "keep prompts 90"),
    ("clinic", "report lease_ms"),
    ("clinic", "egress documents.clinic.example:443"),
    ("clinic", "egress 192.0.2.31:443"),
    ("clinic", "egress [2001:db8:20::5]:6514"),
    ("clinic", "run document-index"),
]


def allowed(domain: str, question: str) -> bool:
    verb, *words = question.split()
    return explain(DOMAINS, domain, verb, words).allowed


@pytest.mark.parametrize(("domain", "question"), FORBIDDEN)
def test_forbids(domain: str, question: str) -> None:
    assert not allowed(domain, question)


@pytest.mark.parametrize(("domain", "question"), ALLOWED)
def test_lets(domain: str, question: str) -> None:
    assert allowed(domain, question)


HELD = ("return", "keep", "report")
"""Verbs whose answers a box is asked for here. Units, filters and what may open stand in test_compiler.py and in the
integration tests that start them."""


def held(questions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [one for one in questions if one[1].split()[0] in HELD]


@pytest.mark.parametrize(("domain", "question"), held(FORBIDDEN))
def test_what_is_forbidden_the_box_does_not_do(domain: str, question: str, tmp_path: Path) -> None:
    verb, *words = question.split()
    assert not held_example(domain, tmp_path).lets(verb, words)


@pytest.mark.parametrize(("domain", "question"), held(ALLOWED))
def test_what_is_let_the_box_does(domain: str, question: str, tmp_path: Path) -> None:
    """Else a box that does nothing would pass."""
    verb, *words = question.split()
    assert held_example(domain, tmp_path).lets(verb, words)


def test_each_is_tried() -> None:
    shipped = {path.stem for path in EXAMPLES.glob("*.toml")}
    assert {domain for domain, _ in FORBIDDEN} == {domain for domain, _ in ALLOWED} == shipped


def test_there_are_three_levels_three_owners_and_a_chain() -> None:
    assert {one.domain.level for one in DOMAINS} == set(Level)
    assert {one.domain.owner.kind for one in DOMAINS} == {"vendor", "data-owner", "customer"}
    assert [len(DOMAINS.upstream(one.domain.name)) for one in DOMAINS] == [0, 0, 0, 0, 2]
