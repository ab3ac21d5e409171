"""Flow calls wait for each other, and nothing else waits for them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.customer_evidence import EACH
from sealwright_appliance.flows.box_flows import BoxFlows
from sealwright_appliance.flows.endpoints import HELLOS_MOST, Turns, add_flows
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.journal import FlowJournal
from sealwright_appliance.flows.party import OwnSide
from sealwright_appliance.flows.receiver import FlowReceiver
from sealwright_policies.errors import FormatError
from sealwright_testing.laid_files import files_of

THREADS = 40
"""Of anyio's shared pool."""


@dataclass
class Locked:
    """As far as turns know flows."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sender: None = None
    receiver: FlowReceiver | None = None


def test_calls_that_wait_for_a_long_one_leave_the_threads_to_the_rest() -> None:
    async def run() -> None:
        turns, done = Turns(cast(BoxFlows, Locked())), threading.Event()
        waiting = [asyncio.create_task(turns.alone(done.wait)) for _ in range(2 * THREADS)]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(5):
                assert await run_in_threadpool(lambda: "the agent answers") == "the agent answers"
        finally:
            done.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(run())


def test_a_stranger_too_many_is_refused_at_once() -> None:
    async def run() -> None:
        turns, done = Turns(cast(BoxFlows, Locked())), threading.Event()
        waiting = [asyncio.create_task(turns.hello(done.wait)) for _ in range(HELLOS_MOST)]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(5):
                with pytest.raises(FlowError) as caught:
                    await turns.hello(done.wait)
        finally:
            done.set()
        assert (caught.value.status, caught.value.code) == (503, "FLOW_BUSY")
        await asyncio.gather(*waiting)
        assert await turns.hello(lambda: 7) == 7

    asyncio.run(run())


def test_an_address_that_asks_too_often_is_refused_before_it_waits(tmp_path: Path) -> None:
    """Expected or not, and while a long call has the turn: nothing of what it says is read."""

    async def run() -> None:
        files, journal = files_of(tmp_path / "domains"), FlowJournal(tmp_path, "a" * 52, "license-1")
        flows = Locked()
        flows.receiver = FlowReceiver(cast(OwnSide, None), files, journal, tmp_path / "expected.json")
        app = FastAPI()
        add_flows(app, cast(ApiKeys, None), cast(BoxFlows, flows))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as client:
            with flows.lock:
                for _ in range(EACH.at_once):
                    with pytest.raises(FormatError):
                        await client.post("/flows/hello", params={"peer": "192.0.2.1"}, content=b"no hello")
                with pytest.raises(FlowError) as caught:
                    await client.post("/flows/hello", params={"peer": "192.0.2.1"}, content=b"no hello")
        assert (caught.value.status, caught.value.code) == (429, "RATE_LIMITED")

    asyncio.run(run())
