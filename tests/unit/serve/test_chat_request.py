"""The chat API takes what its allow-list names, and says which parameter it refuses."""

from __future__ import annotations

import json
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.serve.chat import ChatRequest, parse_chat_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.refused_parameters import REASONS
from sealwright_appliance.serve.request_parts import field_names
from sealwright_appliance.serve.unbroken import LONGEST_RUN, has_long_run
from sealwright_policies.outflow import STRICTEST, OutflowPolicy

HELLO = {"model": "medical", "messages": [{"role": "user", "content": "hello"}]}


def refusal(**change: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_chat_request(json.dumps(HELLO | change).encode())
    return caught.value


@pytest.mark.parametrize("name", sorted(REASONS))
def test_parameters_that_help_extraction_are_refused_with_the_reason(name: str) -> None:
    error = refusal(**{name: True})
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)
    assert "sealed" in error.message


UNBROKEN = [
    "a" * 760_000, "好" * 300_000, "0" * 40_000, "!" * 40_000, " " * 40_000, "\n" * 40_000, "e\u0301" * 40_000,
    "€!" * 20_000, "！€" * 20_000, "€.\u0301" * 14_000,
]  # fmt: skip


@pytest.mark.parametrize("text", UNBROKEN, ids=lambda text: ascii(text[:2]))
def test_a_text_without_a_break_never_reaches_the_engine(text: str) -> None:
    for content in (f"What is {text}?", [{"type": "text", "text": part} for part in (text[:30_000], text[30_000:])]):
        error = refusal(messages=[{"role": "user", "content": content}])
        assert (error.status, error.code, error.param) == (400, "text_unbroken", "messages")
        assert str(LONGEST_RUN) in error.message


def test_long_texts_with_breaks_are_taken() -> None:
    for text in (
        "word " * 200_000,
        "高血压是什么？" * 40_000,
        "a" * LONGEST_RUN,
        "0123456789abcdef" * 256 + "\n" + "b" * 99,
    ):
        body = json.dumps(HELLO | {"messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode()
        assert parse_chat_request(body).messages[0].content == text


@given(st.lists(st.tuples(st.sampled_from("aé好0_ \n.!。€\u0301"), st.integers(1, 9)), max_size=12), st.integers(1, 20))
def test_the_longest_run_is_found_wherever_it_stands(pieces: list[tuple[str, int]], longest: int) -> None:
    """Against a count from the left."""
    text = "".join(character * times for character, times in pieces)
    kinds = [1 if one.isspace() else 2 if one in "_.!。" else 3 for one in text]
    signs = [not one.isspace() and not one.isalnum() for one in text]
    runs = [len(list(group)) for _, group in groupby(kinds)]
    runs += [len(list(group)) for is_sign, group in groupby(signs) if is_sign]
    assert has_long_run(text, longest) == any(run > longest for run in runs)


def test_a_stop_is_short() -> None:
    """The engine looks for each behind every token."""
    for stop in ("a" * 257, ["a", "b" * 257]):
        error = refusal(stop=stop)
        assert (error.status, (error.param or "").split(".")[0]) == (400, "stop")
    assert (
        parse_chat_request(json.dumps(HELLO | {"stop": ["a" * 256] * 4}).encode()).sampling()["stop"] == ["a" * 256] * 4
    )


NESTED: list[dict[str, object]] = [
    {"messages": [{"role": "user", "content": "x", "logit_bias": {}}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "logit_bias": {}}]}]},
    {"stream_options": {"logit_bias": {}}},
    {"response_format": {"type": "json_object", "logit_bias": {}}},
    {"response_format": {"type": "json_object", "grammar": "root ::= 'a'"}},
]


@pytest.mark.parametrize("change", NESTED)
def test_nowhere_in_a_body_is_there_room_for_them(change: dict[str, object]) -> None:
    error = refusal(**change)
    assert error.code == "unsupported_parameter"
    assert error.param in {
        "messages.0.logit_bias",
        "messages.0.content.0.logit_bias",
        "stream_options.logit_bias",
        "response_format.logit_bias",
        "response_format.grammar",
    }


@pytest.mark.parametrize("name", ["dry_base", "xtc_threshold", "reasoning_budget_tokens", "speculative.type", "n_cmpl"])
def test_the_engines_own_parameters_cannot_be_reached(name: str) -> None:
    assert refusal(**{name: 1}).code == "unknown_parameter"


def test_no_name_is_both_taken_and_refused() -> None:
    """At its own place one is taken that is refused at another."""
    assert field_names(ChatRequest) & set(REASONS) == {"json_schema", "audio", "function_call"}


def test_a_name_that_was_mistyped_is_guessed_and_not_repeated() -> None:
    error = refusal(temperatur=1)
    assert (error.code, error.param) == ("unknown_parameter", None)
    assert error.message.endswith("Is temperature meant?")


CANARY = "canary of a patient"


@pytest.mark.parametrize(
    "change",
    [
        {CANARY: 1},
        {"temperature": CANARY},
        {"stop": {CANARY: CANARY}},
        {"messages": [{"role": CANARY, "content": "x"}]},
        {"messages": [{"role": "user", "content": {CANARY: 1}}]},
        {"messages": [{"role": "user", "content": [{"type": CANARY}]}]},
        {"messages": [{"role": "user", "content": "x", CANARY: 1}]},
        {"response_format": {"type": CANARY}},
        {"response_format": {"type": "json_object", "schema": {CANARY: 1}}},
        {"stream_options": {CANARY: True}},
        {"stream_options": CANARY},
        {"user": CANARY * 20},
        {"model": CANARY * 20},
        {"logit_bias": {CANARY: 1}},
    ],
)
def test_nothing_that_was_sent_comes_back_in_a_refusal(change: dict[str, object]) -> None:
    assert "canary" not in json.dumps(refusal(**change).body())


def permitted(policy: OutflowPolicy, **change: object) -> ChatRequest:
    request = parse_chat_request(json.dumps(HELLO | change).encode())
    request.require_permitted(policy)
    return request


def test_numbers_are_off_unless_the_policy_lets_them_out() -> None:
    for off in ({}, {"logprobs": False}, {"logprobs": None, "top_logprobs": None}):
        assert "logprobs" not in permitted(STRICTEST, **off).for_engine(8)
    with pytest.raises(ApiError) as caught:
        permitted(STRICTEST, logprobs=True)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "logprobs")


def test_a_model_that_gives_no_answers_says_so() -> None:
    with pytest.raises(ApiError) as caught:
        permitted(OutflowPolicy(completions=False))
    assert (caught.value.status, caught.value.code) == (403, "completions_off")


def test_no_more_numbers_than_the_policy_lets_out() -> None:
    policy = OutflowPolicy(top_logprobs=2)
    assert permitted(policy, logprobs=True, top_logprobs=2).for_engine(8)["top_logprobs"] == 2
    assert permitted(policy, logprobs=True).for_engine(8)["logprobs"] is True
    for change, code in (({"logprobs": True, "top_logprobs": 3}, "unsupported_parameter"),
                         ({"top_logprobs": 1}, "invalid_parameter")):  # fmt: skip
        with pytest.raises(ApiError) as caught:
            permitted(policy, **change)
        assert (caught.value.code, caught.value.param) == (code, "top_logprobs")


def test_a_reply_is_no_longer_than_the_policy_says() -> None:
    policy = OutflowPolicy(answer_tokens=50)
    assert permitted(policy).answer_tokens(policy) == 50
    assert permitted(policy, max_tokens=60).answer_tokens(policy) == 50
    assert permitted(policy, max_tokens=60, max_completion_tokens=7).answer_tokens(policy) == 7


def test_what_steers_the_sampling_is_rounded() -> None:
    """Two values between which nothing can be measured."""
    fine = {"temperature": 0.7123, "top_p": 0.8912, "presence_penalty": 0.4871, "frequency_penalty": -1.2601}
    asked = permitted(STRICTEST, **fine).for_engine(8)
    assert {name: asked[name] for name in fine} == {
        "temperature": 0.7,
        "top_p": 0.9,
        "presence_penalty": 0.5,
        "frequency_penalty": -1.5,
    }
    assert permitted(STRICTEST, top_p=0.001).for_engine(8)["top_p"] == 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": -1},
        {"temperature": "hot"},
        {"max_tokens": 0},
        {"n": 9},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "assistant"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": "x", "tool_call_id": "1"}]},
        {"messages": [{"role": "user", "content": "x", "audio": {"id": "1"}}]},
        {"store": True},
        {"modalities": ["audio"]},
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
    assert request.for_engine(5) == {
        "model": "m",
        "stream": False,
        "max_tokens": 5,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ab"}],
    }
