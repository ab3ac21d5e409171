"""The chat API takes what its allow-list names, and says which parameter it refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.serve.chat import parse_chat_request
from sealwright_appliance.serve.errors import ApiError

HELLO = {"model": "medical", "messages": [{"role": "user", "content": "hello"}]}


def refusal(**change: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_chat_request(json.dumps(HELLO | change).encode())
    return caught.value


@pytest.mark.parametrize("name", ["logit_bias", "logprobs", "top_logprobs"])
def test_parameters_that_help_extraction_are_refused_with_the_reason(name: str) -> None:
    error = refusal(**{name: True})
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)
    assert "sealed" in error.message


@pytest.mark.parametrize("name", ["grammar", "id_slot", "cache_prompt", "n_probs", "post_sampling_probs", "samplers"])
def test_the_engines_own_parameters_cannot_be_reached(name: str) -> None:
    assert refusal(**{name: 1}).code == "unknown_parameter"


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1},
        {"temperature": "hot"},
        {"max_tokens": 0},
        {"n": 9},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "user", "content": "x"}] * 1025},
        {"stop": ["a"] * 5},
    ],
)
def test_values_out_of_range_are_a_400(change: dict[str, object]) -> None:
    assert refusal(**change).status == 400


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_no_numbers_are_a_400(value: str) -> None:
    body = json.dumps(HELLO)[:-1] + f', "temperature": {value}}}'
    with pytest.raises(ApiError) as caught:
        parse_chat_request(body.encode())
    assert caught.value.status == 400


@given(st.binary(max_size=400))
def test_any_bytes_give_a_request_or_a_400(body: bytes) -> None:
    try:
        parse_chat_request(body)
    except ApiError as error:
        assert error.status == 400


def test_deep_nesting_is_a_400() -> None:
    with pytest.raises(ApiError) as caught:
        parse_chat_request(b"[" * 100_000)
    assert caught.value.status == 400


def test_the_engine_gets_plain_text_and_no_user_name() -> None:
    request = parse_chat_request(
        json.dumps(
            {
                "model": "m",
                "user": "alice",
                "max_completion_tokens": 5,
                "messages": [
                    {"role": "developer", "content": "be brief"},
                    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                ],
            }
        ).encode()
    )
    assert request.for_engine() == {
        "model": "m",
        "stream": False,
        "max_tokens": 5,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ab"}],
    }
