"""The document that says what may leave: strict, and strictest where it says nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.errors import FormatError
from sealwright_policies.outflow import (
    NOTHING_SAID,
    OUTFLOW_LIMIT,
    STRICTEST,
    BudgetScope,
    BudgetWindow,
    OutflowPolicy,
    Reaction,
    ReleaseOutflow,
    parse_outflow,
)
from sealwright_policies.wire.encoding import document_bytes


def test_a_model_that_is_not_named_has_the_strictest() -> None:
    assert NOTHING_SAID.of("medical") == STRICTEST
    assert parse_outflow(b'{"version": 1, "models": {"finance": {"top_logprobs": 2}}}').of("medical") == STRICTEST


def test_the_strictest_gives_no_numbers_pads_throttles_and_has_every_budget() -> None:
    assert (STRICTEST.top_logprobs, STRICTEST.embeddings, STRICTEST.padding) == (None, False, 512)
    assert STRICTEST.on_extraction is Reaction.THROTTLE
    kinds = {(one.scope, one.window) for one in STRICTEST.budgets if one.tokens}
    assert kinds == {(scope, window) for scope in BudgetScope for window in BudgetWindow}


def test_what_is_written_is_read() -> None:
    release = ReleaseOutflow(version=1, models={"medical": OutflowPolicy(top_logprobs=0, budgets=())})
    assert parse_outflow(document_bytes(release)) == release


BUDGET = {"scope": "key", "window": "day", "tokens": 5}
DOCUMENTS: list[dict[str, Any]] = [
    {"version": 2, "models": {}},
    {"version": 1},
    {"version": 1, "models": {"A": {}}},
    {"version": 1, "models": {}, "more": 1},
    *(
        {"version": 1, "models": {"medical": policy}}
        for policy in (
            {"top_logprobs": 6},
            {"top_logprobs": -1},
            {"padding": 100},
            {"answer_tokens": 0},
            {"logit_bias": True},
            {"on_extraction": "ignore"},
            {"embeddings": 1},
            {"budgets": [BUDGET, BUDGET]},
            {"budgets": [BUDGET | {"tokens": 0}]},
            {"budgets": [BUDGET | {"window": "year"}]},
        )
    ),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_anything_else_is_malformed(document: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_outflow(json.dumps(document).encode())


def test_a_document_has_a_limit() -> None:
    with pytest.raises(FormatError):
        parse_outflow(b'{"version": 1, "models": {}}' + b" " * OUTFLOW_LIMIT)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_malformed(content: bytes) -> None:
    with suppress(FormatError):
        parse_outflow(content)
