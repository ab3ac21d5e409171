"""Text completions through OpenAI's own client and a real llama-server."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy
from sealwright_testing.serving import ServingBox, serving_box

from .conftest import CONTEXT

ASKED: dict[str, Any] = {"model": "random", "prompt": "hello", "temperature": 0, "max_tokens": 12}


def test_a_text_is_gone_on_with(client: openai.OpenAI) -> None:
    reply = client.completions.create(**ASKED)
    assert (reply.object, reply.model, reply.choices[0].finish_reason) == ("text_completion", "random", "length")
    assert reply.choices[0].text
    assert reply.id.startswith("cmpl-")
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 12
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 12


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    """Usage last and only if it is wanted."""
    *chunks, last = client.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == client.completions.create(**ASKED).choices[0].text
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.id for chunk in chunks} == {last.id}
    assert last.id.startswith("cmpl-")
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 12
    assert all(chunk.usage is None for chunk in client.completions.create(**ASKED, stream=True))


def test_several_prompts_and_several_choices(client: openai.OpenAI) -> None:
    one, other = (client.completions.create(**ASKED | {"prompt": prompt}) for prompt in ("hello", "why is it so"))
    both = client.completions.create(**ASKED | {"prompt": ["hello", "why is it so"]})
    assert [choice.text for choice in both.choices] == [one.choices[0].text, other.choices[0].text]
    assert both.usage is not None
    assert one.usage is not None
    assert other.usage is not None
    assert both.usage.prompt_tokens == one.usage.prompt_tokens + other.usage.prompt_tokens
    several = client.completions.create(**ASKED | {"n": 3, "seed": 1, "temperature": 1})
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.usage is not None
    assert several.usage.prompt_tokens == one.usage.prompt_tokens
    assert several.usage.completion_tokens == 36


def test_a_seed_and_a_stop_work_as_in_chats(client: openai.OpenAI) -> None:
    asked = ASKED | {"temperature": 1.5, "seed": 11, "max_tokens": 24}
    whole, again = (client.completions.create(**asked).choices[0].text for _ in range(2))
    assert whole == again
    stopped = client.completions.create(**asked, stop=whole[8:11]).choices[0]
    assert (stopped.text, stopped.finish_reason) == (whole[: whole.index(whole[8:11])], "stop")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_prompt_that_does_not_fit_is_refused_with_numbers(client: openai.OpenAI, streamed: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**ASKED | {"prompt": "a " * CONTEXT}, stream=streamed)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    assert str(CONTEXT) in caught.value.message


def test_numbers_and_budgets_are_those_of_chats(random_model: Any) -> None:
    """What the policy lets out, rounded; each prompt is a request, and budgets end the reply and the asking."""
    budget = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, requests=4, tokens=1000)
    policy = OutflowPolicy(top_logprobs=1, answer_tokens=5, budgets=(budget,))
    with serving_box({"random": random_model}, policy=policy) as box, box.openai() as client:
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**ASKED, logprobs=2)
        reply = client.completions.create(**ASKED, logprobs=1)
        numbers = reply.choices[0].logprobs
        assert numbers is not None
        assert numbers.tokens is not None
        assert len(numbers.tokens) == 5
        assert numbers.token_logprobs is not None
        assert all(value == round(value, 2) for value in numbers.token_logprobs if value is not None)
        client.completions.create(**ASKED | {"prompt": ["a", "b", "c"]})
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(**ASKED)
        assert caught.value.code == "insufficient_quota"


def test_chats_and_texts_share_one_budget(random_model: Any) -> None:
    budget = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, tokens=20)
    with serving_box({"random": random_model}, policy=OutflowPolicy(budgets=(budget,))) as box, box.openai() as client:
        client.completions.create(**ASKED)
        hello: Any = [{"role": "user", "content": "hello"}]
        reply = client.chat.completions.create(model="random", messages=hello, temperature=0, max_tokens=50)
        assert reply.usage is not None
        assert reply.usage.completion_tokens == 8
        with pytest.raises(openai.RateLimitError):
            client.completions.create(**ASKED)


def test_nothing_that_was_asked_is_in_a_log(box: ServingBox) -> None:
    with box.openai() as client, pytest.raises(openai.APIStatusError):
        client.completions.create(**ASKED | {"prompt": "canary-of-a-text", "suffix": "canary-of-a-suffix"})
    with box.openai() as client:
        client.completions.create(**ASKED | {"prompt": "canary-of-a-text"})
    assert "canary" not in box.gateway_log
    assert "canary" not in box.engines["random"].log.read_text(errors="replace")
