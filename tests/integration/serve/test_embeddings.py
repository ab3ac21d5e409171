"""Embeddings and counts of tokens through OpenAI's own client and a real llama-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from sealwright_appliance.engines import EMBEDDED_TOKENS
from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy
from sealwright_testing.serving import ServingBox, serving_box

WIDTH = 256
BUDGET = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, requests=40, tokens=30 * WIDTH // 16)
TELLING = OutflowPolicy(embeddings=True, answer_tokens=9, budgets=(BUDGET,))
HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def vector_box(vector_model: Path) -> Iterator[ServingBox]:
    with serving_box({"vectors": vector_model}, policy=TELLING.model_copy(update={"budgets": ()})) as running:
        yield running


@pytest.fixture
def vectors(vector_box: ServingBox) -> Iterator[openai.OpenAI]:
    with vector_box.openai() as made:
        yield made


def test_texts_become_vectors_of_length_one(vectors: openai.OpenAI) -> None:
    """In their order, rounded; the client asks for base64, other programs for numbers."""
    texts = ["hello there", "why is it so", "hello there"]
    made = vectors.embeddings.create(model="vectors", input=texts)
    plain = vectors.embeddings.create(model="vectors", input=texts, encoding_format="float")
    assert [one.index for one in made.data] == [0, 1, 2]
    for one, other in zip(made.data, plain.data, strict=True):
        assert len(one.embedding) == WIDTH
        assert other.embedding == [round(number, 4) for number in other.embedding]
        assert [round(number, 4) for number in one.embedding] == other.embedding
        assert sum(number**2 for number in other.embedding) == pytest.approx(1, abs=0.01)
    assert plain.data[0].embedding == plain.data[2].embedding != plain.data[1].embedding
    single = vectors.embeddings.create(model="vectors", input="hello there", encoding_format="float")
    assert single.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=0.001)
    assert made.usage.prompt_tokens > single.usage.prompt_tokens > 0


def test_the_model_answers_besides(vectors: openai.OpenAI) -> None:
    reply = vectors.chat.completions.create(model="vectors", messages=HELLO, temperature=0, max_tokens=5)
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5


def test_a_text_that_does_not_fit_is_refused_with_numbers(vectors: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        vectors.embeddings.create(model="vectors", input="hello " * EMBEDDED_TOKENS)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    assert str(EMBEDDED_TOKENS) in caught.value.message


def test_the_longest_text_that_fits_is_taken(vectors: openai.OpenAI) -> None:
    with vectors.with_options(timeout=100) as client:
        counted = client.post("/tokenize", cast_to=object, body={"model": "vectors", "prompt": "hello " * 100})
        assert isinstance(counted, dict)
        times = (EMBEDDED_TOKENS - 8) * 100 // counted["count"]
        client.embeddings.create(model="vectors", input="hello " * times)


def test_vectors_have_budgets(vector_model: Path) -> None:
    """Thirty vectors of tokens, then none; counting still works, for it makes nothing, until requests are used up."""
    with serving_box({"vectors": vector_model}, policy=TELLING) as box, box.openai() as client:
        for number in range(3):
            client.embeddings.create(model="vectors", input=[f"text {number} {one}" for one in range(10)])
        with pytest.raises(openai.RateLimitError) as caught:
            client.embeddings.create(model="vectors", input="one more")
        assert caught.value.code == "insufficient_quota"
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="vectors", messages=HELLO)
        for _ in range(10):
            client.post("/tokenize", cast_to=object, body={"model": "vectors", "prompt": "x"})
        with pytest.raises(openai.RateLimitError):
            client.post("/tokenize", cast_to=object, body={"model": "vectors", "prompt": "x"})


def test_a_model_whose_policy_keeps_them_back_gives_none(client: openai.OpenAI, box: ServingBox) -> None:
    """And its engine could not."""
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model="random", input="canary-of-a-text")
    assert caught.value.code == "embeddings_off"
    with box.engines["random"].client() as engine:
        assert engine.post("/v1/embeddings", json={"input": "x"}).status_code == 501
    assert "canary" not in box.gateway_log


def test_a_model_without_embeddings_says_so(random_model: Path) -> None:
    """Its policy would let them out; there is no way in its file to make one of many hidden states."""
    with (
        serving_box({"random": random_model}, policy=TELLING) as box,
        box.openai() as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.embeddings.create(model="random", input="x")


def test_a_count_is_the_replys_own(client: openai.OpenAI, box: ServingBox) -> None:
    """Of a conversation as of a text, with the length of the context and no token."""
    reply = client.chat.completions.create(model="random", messages=HELLO, max_tokens=1)
    text = client.completions.create(model="random", prompt="hello there", max_tokens=1)
    with box.http() as http:
        told = http.post("/v1/tokenize", json={"model": "random", "messages": HELLO}).json()
        told_text = http.post("/v1/tokenize", json={"model": "random", "prompt": "hello there"}).json()
    assert reply.usage is not None
    assert text.usage is not None
    assert told == {
        "object": "token_count", "model": "random", "count": reply.usage.prompt_tokens, "max_model_len": 32_768,
    }  # fmt: skip
    assert told_text["count"] == text.usage.prompt_tokens
