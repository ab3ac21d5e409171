"""Numbers leave rounded, no more of them than asked for, and without the engine's token ids."""

from __future__ import annotations

import json
from typing import Any

from sealwright_appliance.serve.logprobs import rounded_events
from sealwright_appliance.serve.whole_reply import WholeReply


def token(text: str, logprob: float) -> dict[str, Any]:
    return {"id": 7, "token": text, "bytes": list(text.encode()), "logprob": logprob}


def event(*positions: dict[str, Any]) -> bytes:
    numbers = {"content": list(positions)} if positions else None
    choice = {"index": 0, "delta": {"content": "高"}, "finish_reason": None, "logprobs": numbers}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


def position(*others: dict[str, Any]) -> dict[str, Any]:
    return token("高", -0.123456) | {"top_logprobs": list(others)}


def numbers_in(events: bytes) -> list[Any]:
    found = [json.loads(one[6:]) for one in events.split(b"\n\n") if one.startswith(b"data: {")]
    return [choice["logprobs"] for chunk in found for choice in chunk["choices"]]


def test_numbers_are_rounded_and_cut_to_what_was_asked() -> None:
    events = event(position(token("高", -0.123456), token("b", -2.71828))) + event() + b"data: [DONE]\n\n"
    shown = rounded_events(events, 1)
    own = {"token": "高", "logprob": -0.12, "bytes": list("高".encode())}
    assert numbers_in(shown) == [{"content": [own | {"top_logprobs": [own]}]}, None]
    assert shown.endswith(b"data: [DONE]\n\n")
    assert numbers_in(rounded_events(events, 0))[0]["content"][0]["top_logprobs"] == []


def test_other_events_pass_as_they_are() -> None:
    assert rounded_events(b"data: [DONE]\n\n", 1) == b"data: [DONE]\n\n"


def test_a_whole_reply_has_the_numbers_of_all_its_pieces() -> None:
    reply = WholeReply()
    for _ in range(2):
        reply.add(rounded_events(event(position()), 0))
    document = json.loads(reply.document())
    assert [one["logprob"] for one in document["choices"][0]["logprobs"]["content"]] == [-0.12, -0.12]
