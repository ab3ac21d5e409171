"""What leaves a model through the gateway, against a real llama-server: numbers, sizes, budgets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sealwright_appliance.outflow.extraction import SWEEPS_MOST
from sealwright_appliance.outflow.key_states import KeyState
from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

HELLO = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {"model": "random", "messages": HELLO, "temperature": 0, "max_tokens": 4}
BUDGET = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, requests=20, tokens=60)
POLICY = OutflowPolicy(top_logprobs=2, padding=1024, answer_tokens=9, budgets=())


@pytest.fixture(scope="module")
def telling_box(random_model: Path) -> Iterator[ServingBox]:
    """A box whose model gives out two numbers, and nine tokens at most."""
    with serving_box({"random": random_model}, policy=POLICY) as running:
        yield running


# What tools/server of llama.cpp (llama-cpp-python 0.3.36) reads of a body, and the gateway does not take.
ENGINE_NAMES = (
    "adaptive_decay adaptive_target add_generation_prompt add_special backend_sampling cache_prompt chat_format "
    "chat_parser chat_template_kwargs continue_final_message dry_allowed_length dry_base dry_multiplier "
    "dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range echo generation_prompt grammar "
    "grammar_lazy grammar_triggers grammar_type id_slot ignore_eos input_extra input_prefix input_suffix json_schema "
    "logit_bias lora message_delimiters min_keep min_p mirostat mirostat_eta mirostat_tau n_cache_reuse n_cmpl "
    "n_discard n_indent n_keep n_predict n_probs parse_special parse_tool_calls "
    "post_sampling_probs preserved_tokens prompt reasoning_budget_end_tag reasoning_budget_end_tags "
    "reasoning_budget_message reasoning_budget_start_tag reasoning_budget_tokens reasoning_control reasoning_effort "
    "reasoning_format repeat_last_n repeat_penalty response_fields return_progress return_tokens samplers "
    "speculative.n_max speculative.n_min speculative.ngram_min_hits speculative.ngram_size_m "
    "speculative.ngram_size_n speculative.p_min speculative.type sse_ping_interval stop_sequences system "
    "t_max_predict_ms t_max_prompt_ms texts thinking thinking_budget_tokens timings_per_token top_k "
    "top_n_sigma typical_p verbose with_pieces xtc_probability xtc_threshold"
)


def test_no_parameter_of_the_engines_own_is_taken(telling_box: ServingBox) -> None:
    """Wherever it stands; and the engine does take it, so that the gateway is what refuses."""
    with telling_box.http() as client:
        for name in ENGINE_NAMES.split():
            for body in (ASKED | {name: 1}, ASKED | {"messages": [HELLO[0] | {name: 1}]}):
                reply = client.post("/v1/chat/completions", json=body)
                assert reply.status_code == 400
                assert reply.json()["error"]["code"] in {"unknown_parameter", "unsupported_parameter"}
    with telling_box.engines["random"].client() as engine:
        told = engine.post("/v1/chat/completions", json=ASKED | {"n_probs": 3, "return_tokens": True}).text
    assert "logprob" in told


@pytest.mark.parametrize(
    "path",
    ["/completion", "/completions", "/chat/completions", "/infill", "/tokenize", "/detokenize",
     "/apply-template", "/embedding", "/embeddings", "/rerank", "/v1/rerank", "/slots", "/props",
     "/lora-adapters", "/v1/messages", "/api/chat", "/models"],
)  # fmt: skip
def test_none_of_the_engines_other_addresses_is_there(telling_box: ServingBox, path: str) -> None:
    with telling_box.http() as client:
        replies = [client.get(path), client.post(path, json=ASKED | {"input": "x", "prompt": "x"})]
    assert {reply.status_code for reply in replies} <= {404, 405}


@pytest.mark.parametrize("streamed", [False, True])
def test_numbers_are_those_that_the_policy_lets_out(telling_box: ServingBox, streamed: bool) -> None:
    with telling_box.openai() as client:
        options: dict[str, Any] = ASKED | {"logprobs": True, "top_logprobs": 2}
        if streamed:
            chunks = list(client.chat.completions.create(**options, stream=True))
            found = [choice.logprobs.content[0] for one in chunks for choice in one.choices if choice.logprobs]
        else:
            content = client.chat.completions.create(**options).choices[0].logprobs.content
            assert content is not None
            found = list(content)
        assert len(found) == 4
        for one in found:
            assert len(one.top_logprobs) == 2
            assert round(one.logprob, 2) == one.logprob
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ASKED | {"logprobs": True, "top_logprobs": 3})


def test_token_ids_stay_inside(telling_box: ServingBox) -> None:
    with telling_box.http() as client:
        body = client.post("/v1/chat/completions", json=ASKED | {"logprobs": True, "top_logprobs": 1}).json()
    assert set(body["choices"][0]["logprobs"]["content"][0]) == {"token", "logprob", "bytes", "top_logprobs"}


def test_a_reply_ends_where_the_policy_says(telling_box: ServingBox) -> None:
    with telling_box.openai() as client:
        reply = client.chat.completions.create(**ASKED | {"max_tokens": 500})
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (9, "length")


def test_all_pieces_of_a_stream_have_one_size(telling_box: ServingBox) -> None:
    asked = ASKED | {"stream": True}
    with telling_box.http() as client, client.stream("POST", "/v1/chat/completions", json=asked) as reply:
        events = b"".join(reply.iter_bytes()).split(b"\n\n")[:-1]
    assert len(events) > 4
    assert {len(event) + 2 for event in events} == {1024}


@pytest.fixture
def narrow_box(random_model: Path) -> Iterator[ServingBox]:
    """A box whose keys have sixty tokens and twenty requests a day."""
    with serving_box({"random": random_model}, policy=OutflowPolicy(budgets=(BUDGET,))) as running:
        yield running


def spend(box: ServingBox) -> int:
    """Ask until there is nothing left; the tokens that came."""
    tokens = 0
    with box.openai() as client:
        for _ in range(40):
            try:
                reply = client.chat.completions.create(**ASKED | {"max_tokens": 7})
            except openai.RateLimitError as error:
                assert error.code == error.type == "insufficient_quota"
                assert int(error.response.headers["Retry-After"]) > 0
                return tokens
            assert reply.usage is not None
            tokens += reply.usage.completion_tokens
    raise AssertionError("there was no end")


def test_a_budget_is_spent_once_and_a_restart_gives_nothing_back(narrow_box: ServingBox) -> None:
    """Killed gateway and engine; the agent would read the same file."""
    assert spend(narrow_box) == 60
    narrow_box.restart_gateway()
    assert spend(narrow_box) == 0
    ledger = json.loads((narrow_box.paths.outflow_used / "ledger.json").read_text())
    assert {row["day_tokens"] for row in ledger["rows"]} == {60}


def test_what_a_killed_gateway_held_is_not_handed_out_again(narrow_box: ServingBox) -> None:
    with narrow_box.http() as client:
        reply = client.post("/v1/chat/completions", json=ASKED | {"max_tokens": 50})
        assert reply.is_success
    narrow_box.restart_gateway()
    assert spend(narrow_box) <= 10


def test_no_refusal_says_what_was_sent(telling_box: ServingBox) -> None:
    """Canaries wherever a client can put them."""
    canary = "canary-of-a-patient"
    bodies: list[Any] = [
        ASKED | {canary: 1}, ASKED | {"model": canary}, ASKED | {"temperature": canary}, ASKED | {"stop": {canary: 1}},
        ASKED | {"messages": [{"role": canary, "content": canary}]}, ASKED | {"user": canary * 20}, [canary], canary,
        *(
            ASKED | {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
            for schema in ({"$ref": canary}, {"type": canary}, {"type": "string", "pattern": f"^({canary}$"})
        ),
        ASKED | {"messages": [{"role": "user", "content": f"{canary} " * 4_000}]},
    ]  # fmt: skip
    with telling_box.http() as client:
        replies = [client.post("/v1/chat/completions", json=body) for body in bodies]
        replies += [client.get(f"/{canary}?{canary}"), client.request("DELETE", f"/v1/{canary}")]
        replies += [client.request(canary.upper(), "/v1/models")]
        replies += [client.get("/v1/models", headers={"Authorization": f"Bearer {canary}"})]
    for number, reply in enumerate(replies):
        assert reply.status_code >= 400, number
        assert "canary" not in reply.text.lower()
    assert not any("canary" in str(reply.headers).lower() for reply in replies)


def test_the_log_has_lines_of_the_allowed_form_alone(telling_box: ServingBox) -> None:
    """Also of what uvicorn has to say about bytes that are no HTTP."""
    with telling_box.http() as client, pytest.raises(httpx.HTTPError):
        client.request("GET ", "/canary of a patient")
    form = re.compile(r"(level|event)=\S+( \w+=\S+)*")
    for line in telling_box.gateway_log.splitlines():
        assert form.fullmatch(line), line
        assert "canary" not in line


@pytest.fixture
def throttling_box(random_model: Path) -> Iterator[ServingBox]:
    """A box that slows down and refuses, with no budget in the way."""
    with serving_box({"random": random_model}, policy=OutflowPolicy(budgets=())) as running:
        yield running


def test_a_sweep_is_told_refused_and_cleared(throttling_box: ServingBox) -> None:
    """From the first prompt to the administrator's word; the gateway is killed in between."""
    box, beginning = throttling_box, "a beginning that all of these prompts have in common, " * 4
    known = KeyState(model="random", key="ward", sweeps=2 * SWEEPS_MOST - 0.5, requests=300)
    box.outflow.count([known])
    with box.http() as client:
        for number in range(20):
            asked = ASKED | {"max_tokens": 1, "messages": [{"role": "user", "content": f"{beginning}{number}"}]}
            reply = client.post("/v1/chat/completions", json=asked)
            if reply.status_code == 429:
                break
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"
    wait_until(lambda: box.board.status.extraction_alarms == 1)
    box.restart_gateway()
    admin = {"Authorization": f"Bearer {box.admin_key}"}
    with box.http() as client:
        assert client.post("/v1/chat/completions", json=ASKED).status_code == 429
        assert client.post("/admin/outflow/clear", json={"name": "ward"}).status_code == 403
        assert client.get("/admin/outflow", headers=admin).json()["keys"][0]["sign"] == "PREFIX_SWEEP"
        assert "sealwright_extraction_alarms 1" in client.get("/metrics", headers=admin).text
        assert "looks like the copying" in client.get("/").text
        assert "ward" not in client.get("/status").text
        assert client.post("/admin/outflow/clear", json={"name": "ward"}, headers=admin).json() == {"cleared": 1}
        assert client.post("/v1/chat/completions", json=ASKED).is_success
        assert client.get("/status").json()["extraction_alarms"] == 0
