"""Text completions: what is taken, what the engine gets, and what becomes of its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Meter
from sealwright_appliance.serve.refused_parameters import REASONS
from sealwright_appliance.serve.request_parts import field_names
from sealwright_appliance.serve.text_completion import TextRequest, parse_text_request
from sealwright_appliance.serve.text_events import TextEvents
from sealwright_appliance.serve.whole_reply import WholeReply
from sealwright_policies.outflow import STRICTEST, OutflowPolicy

ASKED = {"model": "medical", "prompt": "Once"}
TELLING = OutflowPolicy(top_logprobs=2)


def request(**change: Any) -> TextRequest:
    return parse_text_request(json.dumps(ASKED | change).encode())


def refusal(**change: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        request(**change)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("name", sorted(set(REASONS) - field_names(TextRequest)))
def test_the_engines_own_parameters_are_refused_as_in_chats(name: str) -> None:
    assert (refusal(**{name: 1}).code, refusal(**{name: 1}).param) == ("unsupported_parameter", name)


@pytest.mark.parametrize(
    "change",
    [
        {"echo": True}, {"suffix": "."}, {"suffix": ""}, {"best_of": 3}, {"n": 2, "best_of": 1}, {"n": 9},
        {"prompt": ["a", "b"], "n": 2}, {"prompt": ""}, {"prompt": []}, {"prompt": ["a"] * 9}, {"prompt": ["a", ""]},
        {"prompt": [1, 2]}, {"prompt": [[1]]}, {"prompt": None}, {"logprobs": 6}, {"logprobs": True}, {"messages": []},
        {"prompt": ["x", "a" * 40_000]},
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_400(change: dict[str, Any]) -> None:
    refusal(**change)


def test_what_other_libraries_send_along_is_taken() -> None:
    request(echo=False, suffix=None, best_of=1, logprobs=None, user="x")
    request(n=2, best_of=2)


def test_the_engine_gets_the_prompts_and_the_common_rules() -> None:
    """OpenAI's length where none is said, rounded sampling, no name of a user."""
    assert request(temperature=0.73, user="x").for_engine(9) == {
        "model": "medical", "prompt": ["Once"], "stream": False, "temperature": 0.7, "max_tokens": 9,
    }  # fmt: skip
    assert request().answer_tokens(STRICTEST) == 16
    assert request(max_tokens=60).answer_tokens(OutflowPolicy(answer_tokens=50)) == 50
    assert request(prompt=["a", "b"]).conversations() == [[("user", "a")], [("user", "b")]]


def test_numbers_as_the_policy_says() -> None:
    request(logprobs=2).require_permitted(TELLING)
    for policy, change in ((STRICTEST, {"logprobs": 0}), (TELLING, {"logprobs": 3})):
        with pytest.raises(ApiError) as caught:
            request(**change).require_permitted(policy)
        assert (caught.value.status, caught.value.param) == (400, "logprobs")
    with pytest.raises(ApiError) as caught:
        request().require_permitted(OutflowPolicy(completions=False))
    assert caught.value.code == "completions_off"


def event(**chunk: Any) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "c", "created": 1, "model": "m"} | chunk, separators=(",", ":")).encode()
        + b"\n\n"
    )


def piece(text: str, index: int = 0, reason: str | None = None, **more: Any) -> bytes:
    return event(choices=[{"text": text, "index": index, "logprobs": None, "finish_reason": reason}], **more)


def last(index: int, prompt: int, made: int) -> bytes:
    return piece("", index, "stop", usage={"prompt_tokens": prompt, "completion_tokens": made})


def read(asked: dict[str, Any], *blocks: bytes) -> tuple[bytes, Any]:
    tally = Meter().tally("m", "ward")
    events = TextEvents(asked, tally)
    return b"".join(events.shown(block) for block in blocks), tally


def test_usage_is_kept_for_those_who_want_it() -> None:
    """It stands in the last event of a choice; OpenAI has an event for it."""
    blocks = (piece("", prompt_progress={"processed": 3}), piece("a") + piece("b"), last(0, 3, 2), b"data: [DONE]\n\n")
    plain, tally = read({"prompt": ["x"]}, *blocks)
    assert b"usage" not in plain
    assert b"prompt_progress" not in plain
    assert plain.endswith(b"data: [DONE]\n\n")
    assert (tally.completion_tokens, tally.prompt_seen) == (2, 3)
    told, _ = read({"prompt": ["x"], "stream_options": {"include_usage": True}}, *blocks)
    *_, usage, done, _ = told.split(b"\n\n")
    assert json.loads(usage[6:])["choices"] == []
    assert done == b"data: [DONE]"


def test_tokens_are_counted_before_there_is_usage() -> None:
    assert read({"prompt": ["x"]}, piece("a"), piece("b"))[1].completion_tokens == 2


def test_several_prompts_are_added_up_and_one_is_shared() -> None:
    for prompts, expected in ((["x"], 3), (["x", "y"], 7)):
        shown, tally = read(
            {"prompt": prompts, "stream_options": {"include_usage": True}}, last(1, 4, 2), last(0, 3, 5)
        )
        reply = WholeReply(len(prompts))
        reply.add(shown)
        usage = json.loads(reply.text_document())["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (expected, 7)
        with tally:
            pass
        assert tally.completion_tokens == 7


def number(token: str, value: float) -> dict[str, Any]:
    return {"id": 7, "token": token, "logprob": value, "bytes": [1]}


def test_numbers_have_openais_older_form() -> None:
    """Rounded, no token ids, no more alternatives than asked for; places go on over the events."""

    def told(text: str) -> bytes:
        one = number(text, -0.12345) | {"top_logprobs": [number(text, -0.12345), number("z", -3.98765)]}
        choice = {"text": text, "index": 0, "logprobs": {"content": [one]}, "finish_reason": None}
        return event(choices=[choice])

    shown, _ = read({"prompt": ["x"], "logprobs": 1}, told("ab"), told("c"), last(0, 1, 2))
    reply = WholeReply()
    reply.add(shown)
    (choice,) = json.loads(reply.text_document())["choices"]
    assert choice == {
        "index": 0, "text": "abc", "finish_reason": "stop",
        "logprobs": {
            "tokens": ["ab", "c"], "token_logprobs": [-0.12, -0.12], "text_offset": [0, 2],
            "top_logprobs": [{"ab": -0.12}, {"c": -0.12}],
        },
    }  # fmt: skip
