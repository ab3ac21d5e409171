"""Requests hold what their replies can be and give back what they were not; the agent is asked before, not behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_appliance.serve.quota import Allowance, Lacking, Quota


class Agent:
    """Has so many tokens, and hands out what is asked for."""

    def __init__(self, tokens: int, requests: int = 1000) -> None:
        self.tokens = tokens
        self.requests = requests
        self.asked: list[int] = []

    async def allow(self, lacking: Lacking) -> Allowance:
        self.asked.append(lacking.tokens)
        await asyncio.sleep(0)
        tokens, requests = min(lacking.tokens, self.tokens), min(lacking.requests, self.requests)
        self.tokens -= tokens
        self.requests -= requests
        short = (lacking.tokens and not tokens) or (lacking.requests and not requests)
        return Allowance(requests, tokens, 600 if short else None)


def tally() -> Tally:
    return Meter().tally("medical", "ward")


def request(tokens: int, **more: Any) -> dict[str, Any]:
    return {"max_tokens": tokens} | more


async def one(quota: Quota, tokens: int, *, made: int, **more: Any) -> int:
    """Most tokens of each choice that a request may make."""
    own = tally()
    async with quota.spending(request(tokens, **more), own) as allowed:
        own.used(1, made)
        assert isinstance(allowed["max_tokens"], int)
        return allowed["max_tokens"]


def test_what_a_reply_did_not_need_is_for_the_next() -> None:
    async def run() -> None:
        agent = Agent(100)
        quota = Quota(agent.allow)
        assert [await one(quota, 40, made=made) for made in (10, 40, 5)] == [40, 40, 40]
        assert agent.asked == [40, 10, 40]

    asyncio.run(run())


def test_the_last_reply_is_cut_to_what_is_left_and_then_there_is_none() -> None:
    async def run() -> None:
        quota = Quota(Agent(100).allow)
        assert await one(quota, 80, made=80) == 80
        assert await one(quota, 80, made=20) == 20
        with pytest.raises(ApiError) as caught:
            await one(quota, 80, made=0)
        error = caught.value
        assert (error.status, error.code, error.retry_after_s) == (429, "insufficient_quota", 600)
        assert error.body()["error"]["type"] == "insufficient_quota"
        assert error.response().headers["x-should-retry"] == "false"

    asyncio.run(run())


def test_all_choices_are_held() -> None:
    async def run() -> None:
        quota = Quota(Agent(100).allow)
        assert await one(quota, 80, made=100, n=4) == 25
        with pytest.raises(ApiError):
            await one(quota, 80, made=0)

    asyncio.run(run())


def test_running_requests_hold_the_rest() -> None:
    """That is another refusal: it is over soon."""

    async def run() -> None:
        quota = Quota(Agent(100).allow)
        async with quota.spending(request(100), tally()):
            with pytest.raises(ApiError) as caught:
                await one(quota, 10, made=10)
            assert (caught.value.code, caught.value.retry_after_s) == ("rate_limit_exceeded", 5)
        assert await one(quota, 10, made=10) == 10

    asyncio.run(run())


def test_no_requests_are_left_though_tokens_are() -> None:
    async def run() -> None:
        quota = Quota(Agent(100, requests=2).allow)
        for _ in range(2):
            await one(quota, 10, made=0)
        with pytest.raises(ApiError) as caught:
            await one(quota, 10, made=0)
        assert caught.value.code == "insufficient_quota"

    asyncio.run(run())


def test_many_at_once_do_not_get_more() -> None:
    async def run() -> None:
        agent = Agent(1000)
        quota = Quota(agent.allow)
        made = 0

        async def reply() -> None:
            nonlocal made
            own = tally()
            try:
                async with quota.spending(request(70), own) as allowed:
                    await asyncio.sleep(0)
                    own.used(1, allowed["max_tokens"])
                    made += allowed["max_tokens"]
            except ApiError:
                pass

        await asyncio.gather(*(reply() for _ in range(50)))
        assert made == 1000

    asyncio.run(run())


def test_a_request_that_fails_gives_everything_back() -> None:
    async def run() -> None:
        quota = Quota(Agent(100).allow)
        with pytest.raises(ZeroDivisionError):
            async with quota.spending(request(100), tally()):
                raise ZeroDivisionError
        assert await one(quota, 100, made=100) == 100

    asyncio.run(run())


def test_each_prompt_is_a_request_and_a_vector_is_not_cut() -> None:
    """What is left over is for the next; of a vector there is no half."""

    async def run() -> None:
        agent = Agent(100, requests=5)
        quota = Quota(agent.allow)
        assert await one(quota, 10, made=0, prompt=["a", "b"]) == 10
        assert await one(quota, 30, made=0, input=["a", "b", "c"]) == 30
        with pytest.raises(ApiError) as caught:
            await one(quota, 10, made=0)
        assert caught.value.code == "insufficient_quota"
        agent.requests = 9
        with pytest.raises(ApiError):
            await one(quota, 60, made=0, input=["a", "b"])
        assert await one(quota, 60, made=0, prompt=["a", "b"]) == 50

    asyncio.run(run())


def test_counting_costs_a_request_and_no_tokens() -> None:
    async def run() -> None:
        agent = Agent(0, requests=1)
        quota = Quota(agent.allow)
        assert await one(quota, 0, made=0) == 0
        with pytest.raises(ApiError) as caught:
            await one(quota, 0, made=0)
        assert caught.value.code == "insufficient_quota"

    asyncio.run(run())
