"""Embeddings and counts of tokens: what is taken, what leaves, and in which form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwright_appliance.serve.embedded import Embedded, charge, unpacked
from sealwright_appliance.serve.embedding import INPUTS_MOST, EmbeddingRequest, parse_embedding_request
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.token_count import CountRequest, parse_count_request
from sealwright_policies.outflow import STRICTEST, OutflowPolicy

ASKED: dict[str, Any] = {"model": "medical", "input": "hello"}
FINE = Embedded([(0.123456, -0.00004)], 3)


def request(**change: Any) -> EmbeddingRequest:
    return parse_embedding_request(json.dumps(ASKED | change).encode())


def test_vectors_leave_only_where_the_policy_lets_them_out() -> None:
    """Whether or not the model also answers."""
    request().require_permitted(OutflowPolicy(embeddings=True, completions=False))
    with pytest.raises(ApiError) as caught:
        request().require_permitted(STRICTEST)
    assert (caught.value.status, caught.value.code) == (403, "embeddings_off")


def test_numbers_are_rounded_in_both_encodings() -> None:
    plain, packed = (json.loads(request(encoding_format=one).document(FINE)) for one in ("float", "base64"))
    assert plain["data"] == [{"object": "embedding", "index": 0, "embedding": [0.1235, 0.0]}]
    assert [round(one, 4) for one in unpacked(packed["data"][0]["embedding"])] == [0.1235, 0.0]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_the_engine_gets_texts_alone_and_the_budgets_a_charge() -> None:
    abilities = Abilities(tools=False, width=100, context=1, bpe=True)
    assert request(user="x", input=["a", "b"]).for_engine(abilities) == {"input": ["a", "b"], "max_tokens": 7}
    assert [charge(width) for width in (0, 1, 16, 17, 4096)] == [1, 1, 1, 2, 256]


@pytest.mark.parametrize(
    "change",
    [
        {"input": ""}, {"input": []}, {"input": ["a", ""]}, {"input": [1]}, {"input": [[1]]}, {"input": None},
        {"input": ["a"] * (INPUTS_MOST + 1)}, {"input": "a" * 40_000}, {"dimensions": 4}, {"dimensions": 0},
        {"encoding_format": "int8"}, {"embd_normalize": -1}, {"content": "x"}, {"stream": True},
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_400(change: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        request(**change)
    assert caught.value.status == 400


def count(**asked: Any) -> CountRequest:
    return parse_count_request(json.dumps({"model": "medical"} | asked).encode())


TURN = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "clock"}}


def test_texts_and_conversations_are_counted() -> None:
    assert count(prompt="hello").for_engine() == {"content": "hello", "add_special": True}
    asked = count(messages=[TURN], tools=[TOOL])
    assert asked.needs_tools
    assert set(asked.for_engine()) == {"messages", "tools", "tool_choice"}
    assert [role for role, _ in asked.turns()] == ["tools", "user"]


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"prompt": "x", "messages": [TURN]}, {"prompt": "x", "tools": [TOOL]}, {"messages": []},
        {"prompt": "x", "with_pieces": True}, {"prompt": "x", "add_special": False}, {"tokens": [1]},
        {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [TURN], "tools": [TOOL, TOOL]},
        {"prompt": "a" * 40_000},
    ],
)  # fmt: skip
def test_what_is_no_count_is_a_400(asked: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        count(**asked)
    assert caught.value.status == 400


def test_a_model_that_tells_nothing_counts_nothing() -> None:
    count(prompt="x").require_permitted(OutflowPolicy(completions=False, embeddings=True))
    with pytest.raises(ApiError) as caught:
        count(prompt="x").require_permitted(OutflowPolicy(completions=False))
    assert caught.value.code == "completions_off"
