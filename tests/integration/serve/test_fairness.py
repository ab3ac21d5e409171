"""One key with many endless replies beside one that asks now and then, over a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwright_appliance.engines import PARALLEL_REQUESTS
from sealwright_testing.serving import ServingBox, serving_box

from .conftest import CONTEXT

STREAMS = 3 * PARALLEL_REQUESTS
ASKED = 5
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """Of this file alone: who has used it lately matters here."""
    with serving_box({"random": random_model}) as running:
        yield running


def chat(**options: Any) -> dict[str, Any]:
    return {"model": "random", "messages": [{"role": "user", "content": "hello"}]} | options


def test_a_key_that_asks_now_and_then_is_answered_beside_one_that_never_stops(box: ServingBox) -> None:
    """Once both are known; more of the other key's requests wait than there are places."""
    begun = 0

    async def endless(client: httpx.AsyncClient) -> None:
        nonlocal begun
        asked = chat(max_tokens=CONTEXT - 1000, stream=True, temperature=0)
        async with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
            begun += 1
            async for _ in reply.aiter_raw():
                pass

    def client(key: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(base_url=box.url, verify=box.trust, headers=headers, timeout=None, trust_env=False)

    async def run() -> None:
        async with client(box.api_key) as heavy, client(box.admin_key) as light, asyncio.timeout(PATIENCE_S):
            assert (await light.post("/v1/chat/completions", json=chat(max_tokens=1))).status_code == httpx.codes.OK
            streams = [asyncio.create_task(endless(heavy)) for _ in range(STREAMS)]
            while begun < PARALLEL_REQUESTS - 1:
                await asyncio.sleep(0.05)
            for _ in range(ASKED):
                reply = await light.post("/v1/chat/completions", json=chat(max_tokens=1))
                assert reply.status_code == httpx.codes.OK
            assert begun == PARALLEL_REQUESTS - 1
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)

    asyncio.run(run())
