"""``[api]`` of a domain and the policy that the gateway gets: what the one forbids the other does not let out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sealwright_policies.domains.compiler.outflow import outflow_of
from sealwright_policies.domains.explanation import explain
from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.model import LARGEST, Answers
from sealwright_policies.errors import FormatError
from sealwright_policies.outflow import (
    RATE_MOST,
    TOKENS_MOST,
    TOP_LOGPROBS_MOST,
    BudgetScope,
    BudgetWindow,
    OutflowPolicy,
)
from sealwright_testing.domain_texts import domain_text, parse, verified

LIMITS_SAID = {
    "tokens_per_day": 50_000,
    "requests_per_minute": 30,
    "requests_per_day": 700,
    "model_tokens_per_day": 90_000,
    "model_requests_per_day": 1000,
}
SAID = {"completions": True, "tokens_per_request": 1024, **LIMITS_SAID}


def answers(**said: Any) -> Answers:
    return Answers.model_validate(said)


def permits(policy: OutflowPolicy) -> dict[str, float]:
    """Every field as a number: the larger, the more leaves."""
    budgets = {
        (kind, budget.scope, budget.window): getattr(budget, kind)
        for budget in policy.budgets
        for kind in ("requests", "tokens")
    }
    fields = {
        "completions": policy.completions,
        "embeddings": policy.embeddings,
        "top_logprobs": -1 if policy.top_logprobs is None else policy.top_logprobs,
        "answer_tokens": policy.answer_tokens,
        "requests_per_minute": _or_endless(policy.requests_per_minute),
        "padding": -policy.padding,
    }
    for scope in BudgetScope:
        for window in BudgetWindow:
            for kind in ("requests", "tokens"):
                fields[f"{kind} of {scope} and {window}"] = _or_endless(budgets.get((kind, scope, window)))
    return fields


def _or_endless(number: int | None) -> float:
    return float("inf") if number is None else number


def amounts(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, most]) | st.integers(0, most)


def is_said(said: dict[str, Any]) -> bool:
    try:
        answers(**said)
    except ValidationError:
        return False
    return True


API = st.fixed_dictionaries(
    {
        "completions": st.booleans(),
        "embeddings": st.booleans(),
        "logprobs": amounts(TOP_LOGPROBS_MOST),
        "tokens_per_request": amounts(TOKENS_MOST),
        "tokens_per_day": amounts(LARGEST),
        "requests_per_minute": amounts(RATE_MOST),
        "requests_per_day": amounts(LARGEST),
        "model_tokens_per_day": amounts(LARGEST),
        "model_requests_per_day": amounts(LARGEST),
        "pad_stream": st.booleans(),
    }
).filter(is_said)


def test_a_domain_says_what_the_gateway_goes_by() -> None:
    policy = outflow_of(answers(**SAID))
    assert (policy.top_logprobs, policy.answer_tokens, policy.requests_per_minute) == (None, 1024, 30)
    assert policy.padding == 512
    held = permits(policy)
    assert (held["requests of key and day"], held["tokens of key and day"]) == (700, 50_000)
    assert (held["requests of model and day"], held["tokens of model and day"]) == (1000, 90_000)
    assert (held["tokens of key and month"], held["tokens of model and month"]) == (10_000_000, 50_000_000)
    wider = outflow_of(answers(**SAID, logprobs=5, pad_stream=False))
    assert (wider.top_logprobs, wider.padding) == (5, 0)


def test_a_model_of_a_domain_that_lets_nothing_out_does_not_answer() -> None:
    """Not even as one that no domain names."""
    policy = outflow_of(Answers())
    assert (policy.completions, policy.embeddings) == (False, False)


def test_a_domain_of_embeddings_alone_keeps_its_limits() -> None:
    few = LIMITS_SAID | {"tokens_per_day": 700, "requests_per_minute": 2}
    policy = outflow_of(answers(embeddings=True, **few, pad_stream=False))
    assert (policy.completions, policy.embeddings) == (False, True)
    assert (policy.requests_per_minute, policy.budgets[0].tokens, policy.padding) == (2, 700, 0)


@given(one=API, other=API)
def test_who_is_within_another_domain_lets_out_no_more(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The meet of two is within both, so each pair tries the order twice."""
    meet = answers(**{name: LIMITS[f"api.{name}"].order.meet(one[name], other[name]) for name in Answers.model_fields})
    less = permits(outflow_of(meet))
    for wider in (one, other):
        more = permits(outflow_of(answers(**wider)))
        assert {name for name in less if less[name] > more[name]} == set()


@given(said=API, data=st.data())
def test_what_explain_answers_holds_in_the_policy(said: dict[str, Any], data: st.DataObject) -> None:
    lines = "\n".join(f"{name} = {str(value).lower()}" for name, value in said.items())
    domains = verified([domain_text(more=f"\n[api]\n{lines}\n")])
    policy = outflow_of(domains.by_name["small"].domain.api)

    def allowed(*words: str) -> bool:
        return explain(domains, "small", "return", words).allowed

    assert allowed("completions") == policy.completions
    assert allowed("embeddings") == policy.embeddings
    if not (policy.completions or policy.embeddings):
        return
    permitted = permits(policy)
    held: dict[str, float | None] = {
        "tokens_per_day": permitted["tokens of key and day"],
        "requests_per_minute": policy.requests_per_minute,
        "requests_per_day": permitted["requests of key and day"],
        "model_tokens_per_day": permitted["tokens of model and day"],
        "model_requests_per_day": permitted["requests of model and day"],
    }
    if policy.completions:
        held |= {"tokens_per_request": policy.answer_tokens, "logprobs": policy.top_logprobs or 0}
    for name, most in held.items():
        assert most is not None
        amount = data.draw(st.sampled_from([most, most + 1]) | st.integers(1, LARGEST), name)
        assert allowed(name, str(amount)) == (amount <= most), name


@pytest.mark.parametrize("missing", ["tokens_per_request", *LIMITS_SAID])
@pytest.mark.parametrize("zero", [False, True])
def test_completions_without_a_limit_are_refused_at_their_line(missing: str, zero: bool) -> None:
    said = {name: value for name, value in SAID.items() if name != missing} | ({missing: 0} if zero else {})
    lines = "\n".join(f"{name} = {str(value).lower()}" for name, value in said.items())
    with pytest.raises(FormatError) as caught:
        parse(domain_text(more=f"\n[api]\n{lines}\n"))
    assert str(caught.value) == f"small.toml: line 15: api: completions need {missing} above 0."


def test_embeddings_without_a_limit_are_refused() -> None:
    needed = ", ".join(sorted(LIMITS_SAID))
    with pytest.raises(FormatError, match=f"api: embeddings need {needed} above 0"):
        parse(domain_text(more="\n[api]\nembeddings = true\n"))


@pytest.mark.parametrize(
    ("key", "most"),
    [("logprobs", TOP_LOGPROBS_MOST), ("tokens_per_request", TOKENS_MOST), ("requests_per_minute", RATE_MOST)],
)
def test_more_than_the_gateway_can_give_is_refused_rather_than_cut(key: str, most: int) -> None:
    assert getattr(parse(domain_text(more=f"\n[api]\n{key} = {most}\n")).domain.api, key) == most
    with pytest.raises(FormatError, match=f"line 16: api.{key}: "):
        parse(domain_text(more=f"\n[api]\n{key} = {most + 1}\n"))
