"""The gateway's meter: what events say, running requests, batches that are sent until they have come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import ROWS_MOST, Meter, MeterSender, Tally
from sealwright_appliance.serve.usage_events import count_events


def event(**members: Any) -> bytes:
    """As llama-server writes one."""
    return b"data: " + json.dumps(members, separators=(",", ":")).encode() + b"\n\n"


def token(text: str) -> bytes:
    return event(choices=[{"finish_reason": None, "index": 0, "delta": {"content": text}}])


ROLE = {"choices": [{"finish_reason": None, "index": 0, "delta": {"role": "assistant", "content": None}}]}
PROGRESS = event(**ROLE, prompt_progress={"total": 9, "cache": 0, "processed": 7, "time_ms": 1})
HEAD = event(**ROLE)
END = event(choices=[{"finish_reason": "stop", "index": 0, "delta": {}}])
USAGE = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4})
DONE = b"data: [DONE]\n\n"


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def passed(tally: Tally, *blocks: bytes, show_usage: bool = False) -> bytes:
    return b"".join(count_events(block, tally, show_usage=show_usage) for block in blocks)


def row(meter: Meter) -> dict[str, Any]:
    (found,) = meter.take()
    return found


def test_usage_is_what_the_engine_says_and_no_client_sees_it_unasked() -> None:
    meter = Meter(Clock())
    with meter.tally("medical", "ward") as tally:
        shown = passed(tally, PROGRESS + HEAD, token("a"), token("b") + token("c"), END + USAGE + DONE)
    assert shown == HEAD + token("a") + token("b") + token("c") + END + DONE
    expected = {"requests": 1, "prompt_tokens": 9, "completion_tokens": 4, "busy_ms": 0}
    assert row(meter) == {"model": "medical", "key": "ward"} | expected
    assert meter.take() == []


def test_a_client_that_asks_for_usage_gets_it() -> None:
    with Meter().tally("medical", "ward") as tally:
        assert passed(tally, PROGRESS, HEAD + END + USAGE + DONE, show_usage=True) == HEAD + END + USAGE + DONE


def test_a_request_that_ends_early_counts_what_it_had() -> None:
    """The prompt as far as the engine was, each event as one token."""
    meter = Meter(Clock())
    with meter.tally("medical", "ward") as tally:
        passed(tally, PROGRESS, HEAD, token("a"), token("b"))
    assert (row(meter)["prompt_tokens"], tally.tokens_seen) == (7, 2)


def test_several_choices_share_one_prompt() -> None:
    meter = Meter()
    with meter.tally("medical", "ward") as tally:
        passed(tally, HEAD, HEAD, END, USAGE, END, USAGE, DONE)
    found = row(meter)
    assert (found["prompt_tokens"], found["completion_tokens"]) == (9, 8)


def test_no_text_is_taken_for_usage() -> None:
    """Whatever a model says: JSON escapes the quotes within it."""
    with Meter().tally("medical", "ward") as tally:
        texts = ('"choices":[]', '"role":"assistant"', '"finish_reason":null', '"prompt_progress"')
        said = [token(text) for text in texts]
        assert passed(tally, *said) == b"".join(said)
    assert tally.tokens_seen == 4


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": "9", "completion_tokens": -1}, {"prompt_tokens": 10**30}]
)
def test_an_engine_that_went_wrong_stops_no_meter(usage: object) -> None:
    meter = Meter()
    with meter.tally("medical", "ward") as tally:
        passed(tally, event(choices=[], usage=usage), b'data: {"choices":[],\n\n')
        passed(tally, b'data: {"prompt_progress" "role":"assistant"\n\n')
    assert 0 <= row(meter)["prompt_tokens"] < 2**48


@settings(deadline=None)
@given(st.lists(st.sampled_from(["token", "take", "second"]), max_size=30))
def test_a_running_request_is_counted_as_it_goes_and_never_twice(steps: list[str]) -> None:
    """However often batches are taken meanwhile, they add up to what one at the end would say."""
    clock = Clock()
    meter = Meter(clock)
    taken: list[dict[str, Any]] = []
    with meter.tally("medical", "ward") as tally:
        passed(tally, PROGRESS, HEAD)
        for step in steps:
            if step == "token":
                passed(tally, token("x"))
            elif step == "second":
                clock.now += 1
            else:
                taken += meter.take()
        passed(tally, END + event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 31}) + DONE)
    taken += meter.take()
    total = {
        name: sum(one[name] for one in taken) for name in ("requests", "prompt_tokens", "completion_tokens", "busy_ms")
    }
    assert total == {
        "requests": 1,
        "prompt_tokens": 9,
        "completion_tokens": 31,
        "busy_ms": steps.count("second") * 1000,
    }


class Agent:
    """Takes batches, or does not; may have taken one although the answer is lost."""

    def __init__(self, *outcomes: str) -> None:
        self.outcomes = list(outcomes)
        self.got: list[dict[str, Any]] = []

    async def take(self, batch: dict[str, Any]) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else "taken"
        if outcome != "refused":
            self.got.append(batch)
        if outcome != "taken":
            raise ApiError(503, "agent_unavailable", "")


def test_a_batch_goes_again_under_its_number_until_it_has_come() -> None:
    async def run() -> None:
        meter, agent = Meter(), Agent("refused", "lost", "taken", "taken")
        sender = MeterSender(meter, agent.take)
        with meter.tally("medical", "ward"):
            pass
        assert not await sender.send_once()
        with meter.tally("medical", "night"):
            pass
        assert not await sender.send_once()
        assert await sender.send_once()
        assert await sender.send_once()
        assert await sender.send_once()
        assert [one["number"] for one in agent.got] == [1, 1, 2]
        assert agent.got[0] == agent.got[1]
        assert [one["rows"][0]["key"] for one in agent.got] == ["ward", "ward", "night"]
        assert len({one["gateway_id"] for one in agent.got}) == 1

    asyncio.run(run())


def test_what_was_counted_is_sent_when_the_gateway_ends() -> None:
    async def run() -> None:
        meter, agent = Meter(), Agent("refused")
        async with MeterSender(meter, agent.take, every_s=3600).running():
            with meter.tally("medical", "ward"):
                pass
        assert [one["rows"][0]["requests"] for one in agent.got] == [1]

    asyncio.run(run())


def test_more_keys_than_a_batch_holds_wait_for_the_next() -> None:
    meter = Meter()
    for number in range(ROWS_MOST + 1):
        with meter.tally("medical", f"{number:05}"):
            pass
    assert [len(meter.take()) for _ in range(3)] == [ROWS_MOST, 1, 0]
