"""What colleagues do with OpenAI's own client, over real TLS, against a real llama-server behind the gateway."""

from __future__ import annotations

import ssl
from enum import StrEnum
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from sealwright_testing.serving import ServingBox

from .conftest import CONTEXT

HELLO = [{"role": "user", "content": "hello"}]


def ask(client: openai.OpenAI, **options: Any) -> ChatCompletion:
    """One short greedy reply."""
    request: dict[str, Any] = {"model": "random", "messages": HELLO, "temperature": 0, "max_tokens": 24} | options
    reply = client.chat.completions.create(**request)
    assert isinstance(reply, ChatCompletion)
    return reply


def stream(client: openai.OpenAI, **options: Any) -> list[Any]:
    """All chunks of the same, streamed."""
    request: dict[str, Any] = {
        "model": "random",
        "messages": HELLO,
        "temperature": 0,
        "max_tokens": 24,
        "stream": True,
    } | options
    return list(client.chat.completions.create(**request))


def text_of(chunks: list[Any], index: int = 0) -> str:
    """What a stream says in one of its choices."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def varied(client: openai.OpenAI, **options: Any) -> str:
    """A reply with many different letters."""
    return ask(client, temperature=1.5, seed=11, **options).choices[0].message.content or ""


def test_models_are_the_opened_payloads(client: openai.OpenAI) -> None:
    """Under their payload ids."""
    assert {model.id for model in client.models.list()} == {"random", "elsewhere"}


def test_a_whole_reply(client: openai.OpenAI) -> None:
    """Content, model, reason and usage, as OpenAI says them."""
    reply = ask(client)
    assert (reply.model, reply.object, reply.choices[0].finish_reason) == ("random", "chat.completion", "length")
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 24
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 24


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    """Many chunks, one reason at the end, no usage unless asked for."""
    chunks = stream(client)
    assert len(chunks) > 20
    assert text_of(chunks) == ask(client).choices[0].message.content
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["length"]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_of_a_stream_comes_last(client: openai.OpenAI) -> None:
    """stream_options.include_usage: a chunk without choices, after all others."""
    *others, last = stream(client, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.completion_tokens == 24
    assert all(chunk.usage is None for chunk in others)


def test_several_choices(client: openai.OpenAI) -> None:
    """n, whole and streamed: each under its own index."""
    assert [choice.index for choice in ask(client, n=3, seed=1).choices] == [0, 1, 2]
    chunks = stream(client, n=2, temperature=1.0, seed=1)
    assert text_of(chunks, 0)
    assert text_of(chunks, 1)


def test_stop_ends_a_reply_before_the_word(client: openai.OpenAI) -> None:
    """The word itself is left out; one word or a list of them."""
    whole = varied(client)
    word = whole[8:11]
    before = whole[: whole.index(word)]
    for stop in (word, ["never said", word]):
        reply = ask(client, temperature=1.5, seed=11, stop=stop)
        assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (before, "stop")


def test_a_seed_repeats_a_reply(client: openai.OpenAI) -> None:
    """And another seed gives another."""
    first, again = (ask(client, temperature=1.0, seed=7).choices[0].message.content for _ in range(2))
    other = ask(client, temperature=1.0, seed=8).choices[0].message.content
    assert first == again != other


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_length_is_limited(client: openai.OpenAI, name: str) -> None:
    """By either name."""
    limit: dict[str, Any] = {name: 5}
    reply = client.chat.completions.create(model="random", messages=[{"role": "user", "content": "hello"}], **limit)
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5


class Colour(StrEnum):
    """One of two words."""

    RED = "red"
    BLUE = "blue"


class Finding(BaseModel):
    """A shape that even random weights fill, for the grammar leaves them nothing else."""

    colour: Colour
    urgent: bool


def test_replies_follow_a_json_schema(client: openai.OpenAI) -> None:
    """Through the client's own ``parse``, which sends a strict schema and checks what comes."""
    reply = client.chat.completions.parse(
        model="random", messages=[{"role": "user", "content": "hello"}], response_format=Finding, max_tokens=2000
    )
    assert isinstance(reply.choices[0].message.parsed, Finding)


def test_any_json_object(client: openai.OpenAI) -> None:
    """json_object: it begins as one; random weights do not come to an end."""
    content = ask(client, response_format={"type": "json_object"}, max_tokens=400).choices[0].message.content
    assert content is not None
    assert content.lstrip().startswith("{")


def test_all_roles_are_taken_and_developer_means_system(client: openai.OpenAI) -> None:
    """Both spellings reach the model as the same conversation; it depends on every turn."""

    def reply(*turns: tuple[str, str]) -> tuple[str | None, int]:
        answer = ask(client, messages=[{"role": role, "content": text} for role, text in turns])
        assert answer.usage is not None
        return answer.choices[0].message.content, answer.usage.prompt_tokens

    talk = (("user", "hello"), ("assistant", "good day"), ("user", "why"))
    system, developer = reply(("system", "be brief"), *talk), reply(("developer", "be brief"), *talk)
    assert system == developer
    assert system[1] > reply(*talk)[1]


def test_text_parts_are_one_text(client: openai.OpenAI) -> None:
    """A list of text parts is what some libraries always send."""
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    assert ask(client, messages=[{"role": "user", "content": parts}]).usage == ask(client).usage


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_that_does_not_fit_is_refused_with_numbers(client: openai.OpenAI, streamed: bool) -> None:
    """400 before any token, also where a stream was asked for."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, messages=[{"role": "user", "content": "a " * CONTEXT}], stream=streamed)
    error = caught.value
    assert (error.code, error.param) == ("context_length_exceeded", "messages")
    assert str(CONTEXT) in error.message


def test_what_a_model_cannot_do_is_a_400_without_the_engines_words(client: openai.OpenAI) -> None:
    """A schema that llama.cpp cannot turn into a grammar."""
    schema = {"name": "x", "schema": {"$ref": "https://elsewhere.example/canary-of-the-engine"}}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, response_format={"type": "json_schema", "json_schema": schema})
    assert "canary" not in caught.value.message


def test_refusals_have_openais_classes(client: openai.OpenAI, box: ServingBox) -> None:
    """So that programs written for OpenAI react to them."""
    with pytest.raises(openai.NotFoundError, match="random"):
        ask(client, model="gpt-4o")
    with pytest.raises(openai.BadRequestError, match="sealed"):
        ask(client, logprobs=True)
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="sw-" + "x" * 43))


def test_nothing_below_tls_1_3_and_no_other_certificate(box: ServingBox) -> None:
    """The box speaks TLS 1.3 alone, and a client that trusts public authorities does not trust it."""
    old = box.trust
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for context in (old, ssl.create_default_context()):
        with pytest.raises(httpx.ConnectError, match=r"(?i)ssl|certificate"):
            httpx.get(box.url + "/healthz", verify=context, trust_env=False)
    assert httpx.get(box.url + "/healthz", verify=box.trust, trust_env=False).json() == {"status": "ok"}
