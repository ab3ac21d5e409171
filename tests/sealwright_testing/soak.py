"""A box that serves for an hour: is each request answered, and does memory stay where it is.

    python -m sealwright_testing.soak --minutes 60

Two engines behind one gateway; streams, whole replies, texts, lists, clients that leave in the middle of a reply and
requests that are refused, by two keys at once. It ends with 1 if a reply was not the one that was due, or if a process
took more memory in the last third of the time than in the second; the first is for warming up. ``make test-all`` has
five minutes of it, ``make soak`` an hour.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf
from sealwright_testing.serving import ServingBox, serving_box
from sealwright_testing.stream_client import BrokenReplyError, Side

MODELS = ("one", "two")
SHAPE = RandomShape(width=256, feed_forward=704, layers=4, heads=4, kv_heads=2, vocabulary=2000)
SMALL_CACHE = ("--cache-ram", "16")
"""MiB. An engine keeps prompts up to its limit; one that is soon reached, so that memory is flat from then on."""
SAMPLE_S = 5.0
PROGRESS_S = 60.0
MOST_TOKENS = 64
LEFT_TOKENS = 1500
"""Of a reply whose reader leaves: it would take seconds."""
REFUSED: Sequence[Mapping[str, object]] = (
    {"max_tokens": -1},
    {"model": "none"},
    {"messages": []},
    {"logit_bias": {"1": 100}},
)
GROWTH = 1.05
SLACK = 4 * 2**20
"""Bytes: what an allocator keeps differs by as much from minute to minute."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Growth:
    """Median memory of one process, in bytes, in the second and in the last third of the time."""

    name: str
    before: float
    after: float

    @property
    def is_flat(self) -> bool:
        """Whether it has not grown by more than a twentieth and what an allocator keeps."""
        return self.after <= GROWTH * self.before + SLACK

    def __str__(self) -> str:
        return f"{self.name}: {self.before / MIB:.1f} MiB, then {self.after / MIB:.1f}"


def growth(name: str, samples: Sequence[int]) -> Growth:
    """Of at least three samples, taken at even times."""
    third = len(samples) // 3
    return Growth(name, statistics.median(samples[third : 2 * third]), statistics.median(samples[-third:]))


@dataclass
class Soak:
    """Requests to one box, and what became of them."""

    box: ServingBox
    seconds: float
    answered: Counter[str] = field(default_factory=Counter)
    """By kind of request."""
    lost: list[str] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=dict)
    """Bytes of each process that nothing else has (``smaps_rollup``), every ``SAMPLE_S``."""

    def run(self) -> None:
        """Ask until the time is over."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        keys = (self.box.api_key, self.box.admin_key)
        async with self._client(keys[0]) as ward, self._client(keys[1]) as administrator:
            asking = [self._stream(key) for key in keys for _ in range(2)]
            asking += [lambda: self._whole(ward), lambda: self._text(administrator), lambda: self._leave(ward)]
            asking += [lambda: self._refused(ward), lambda: self._look(administrator)]
            until = time.monotonic() + self.seconds
            watching = asyncio.create_task(self._watch())
            await asyncio.gather(*(self._repeat(ask, until) for ask in asking))
            watching.cancel()

    def _client(self, key: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(
            base_url=self.box.url, verify=self.box.trust, headers=headers, timeout=120, trust_env=False
        )

    async def _repeat(self, ask: Callable[[], Awaitable[str]], until: float) -> None:
        while time.monotonic() < until:
            try:
                self.answered[await ask()] += 1
            except (httpx.HTTPError, OSError, asyncio.IncompleteReadError, BrokenReplyError, AssertionError) as error:
                self.lost.append(repr(error))

    async def _watch(self) -> None:
        began = said = time.monotonic()
        pids = {"gateway": self.box.gateway.pid}
        pids |= {f"engine {name}": one.process.pid for name, one in self.box.engines.items() if one.process}
        while True:
            for name, pid in pids.items():
                self.memory.setdefault(name, []).append(private_bytes(pid))
            if time.monotonic() - said >= PROGRESS_S:
                said = time.monotonic()
                print(f"{said - began:6.0f}s {self.answered.total()} answered, {len(self.lost)} lost", flush=True)
            await asyncio.sleep(SAMPLE_S)

    def _stream(self, key: str) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            side = Side(self.box.port, random.choice(MODELS), self.box.trust, key)
            async with side.connection() as (reader, writer):
                await side.ask(reader, writer, random.randint(1, MOST_TOKENS))
            return "stream"

        return ask

    async def _whole(self, client: httpx.AsyncClient) -> str:
        tokens = random.randint(1, MOST_TOKENS)
        reply = await client.post("/v1/chat/completions", json=_chat(max_tokens=tokens, temperature=0))
        assert reply.status_code == httpx.codes.OK, reply.text
        assert reply.json()["usage"]["completion_tokens"] == tokens, reply.text
        return "whole reply"

    async def _text(self, client: httpx.AsyncClient) -> str:
        asked = {"model": random.choice(MODELS), "prompt": "once upon a time", "max_tokens": 16, "temperature": 0}
        reply = await client.post("/v1/completions", json=asked)
        assert reply.status_code == httpx.codes.OK, reply.text
        return "text"

    async def _leave(self, client: httpx.AsyncClient) -> str:
        asked = _chat(max_tokens=LEFT_TOKENS, stream=True)
        async with client.stream("POST", "/v1/chat/completions", json=asked) as reply:
            assert reply.status_code == httpx.codes.OK, reply.status_code
            async for _ in reply.aiter_raw():
                break
        return "left"

    async def _refused(self, client: httpx.AsyncClient) -> str:
        reply = await client.post("/v1/chat/completions", json=_chat(**random.choice(REFUSED)))
        assert httpx.codes.is_client_error(reply.status_code), reply.text
        await asyncio.sleep(0.2)
        return "refused"

    async def _look(self, client: httpx.AsyncClient) -> str:
        for path in ("/v1/models", "/status", "/metrics", "/admin/load"):
            reply = await client.get(path)
            assert reply.status_code == httpx.codes.OK, f"{path}: {reply.text}"
        await asyncio.sleep(1)
        return "looked"


def _chat(**options: object) -> Mapping[str, object]:
    question = {"role": "user", "content": f"hello {random.randrange(10**6)}"}
    return {"model": random.choice(MODELS), "messages": [question]} | options


def private_bytes(pid: int) -> int:
    """Memory of a process that no other has (proc_pid_smaps_rollup(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def main() -> int:
    """Soak a box of its own."""
    parser = argparse.ArgumentParser(prog="sealwright_testing.soak", description="Serve for a long time, and look.")
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="sealwright-soak-", dir="/var/tmp") as folder:
        model = Path(folder) / "model.gguf"
        write_random_gguf(model, SHAPE)
        with serving_box(dict.fromkeys(MODELS, model), options=SMALL_CACHE) as box:
            soak = Soak(box, 60 * minutes)
            soak.run()
    grown = [growth(name, samples) for name, samples in soak.memory.items()]
    print(*(f"{kind}: {number}" for kind, number in soak.answered.most_common()), sep="\n")
    print(*(f"{one}{'' if one.is_flat else '  <-- it grows'}" for one in grown), sep="\n")
    print(f"lost: {len(soak.lost)}", *soak.lost[:10], sep="\n")
    return 1 if soak.lost or not all(one.is_flat for one in grown) else 0


if __name__ == "__main__":
    sys.exit(main())
