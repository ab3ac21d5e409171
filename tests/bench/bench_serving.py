"""The gateway against llama-server itself: the same requests over TLS through the one, and to the other's own socket.

One llama-server, started as in the box, serves both sides in turns; eight clients at once read streams of a fixed
number of tokens. The client costs the same on both sides, TLS apart, and parses nothing. ``gateway_throughput_ratio``
is of a model of a size that is really served on a CPU, 201 M weights; ``gateway_throughput_ratio_tiny`` of one that
makes a token in well under a millisecond, where the gateway's own work is most of all. ``gateway_cpu_us_per_token``
is the gateway's processor time, which other load on the machine disturbs least.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwright_policies.outflow import STRICTEST
from sealwright_testing.bench import Figure, figure, in_turns, ratio
from sealwright_testing.models.random_gguf import SHAPES, RandomShape, write_random_gguf
from sealwright_testing.serving import ServingBox, serving_box

CLIENTS = 8
ROUNDS = 7
FIRST_TOKENS = 40
"""Requests a side for the time to the first token."""
TINY = RandomShape(width=256, feed_forward=704, layers=4, heads=4, kv_heads=2, vocabulary=2000)
TOKENS = {"201m": 48, "tiny": 400}
DIRECT = "llama-server's socket, in turns"
_DONE, _END = b"data: [DONE]", b"\r\n0\r\n\r\n"
_LENGTH = b'"finish_reason":"length"'


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the engine: its UNIX socket, or the gateway's address."""

    box: ServingBox
    model: str
    trust: ssl.SSLContext | None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A new connection."""
        if self.trust is None:
            reader, writer = await asyncio.open_unix_connection(self.box.engines[self.model].socket)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.box.port, ssl=self.trust)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tokens: int) -> float:
        """One streamed reply, read to its end; seconds to its first event."""
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": "hello"}],
                "temperature": 0,
                "max_tokens": tokens,
                "stream": True,
            }
        )
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer {self.box.api_key}\r\n"
        begin = time.perf_counter()
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await reader.readuntil(b"data: ")
        first = time.perf_counter() - begin
        rest = bytearray()
        while not rest.endswith(_END):
            rest += await reader.read(65536)
        if _LENGTH not in rest or _DONE not in rest:
            raise RuntimeError("a reply ended before its length")
        return first

    def throughput(self, tokens: int) -> float:
        """Tokens a second of all clients together."""

        async def client() -> None:
            async with self.connection() as (reader, writer):
                await self.ask(reader, writer, tokens)

        async def run() -> float:
            begin = time.perf_counter()
            await asyncio.gather(*(client() for _ in range(CLIENTS)))
            return CLIENTS * tokens / (time.perf_counter() - begin)

        return asyncio.run(run())

    def first_token_ms(self) -> float:
        """Milliseconds to the first event: on an open connection, as clients keep them; llama-server keeps none."""

        async def run() -> float:
            async with self.connection() as (reader, writer):
                if self.trust is not None:
                    await self.ask(reader, writer, 1)
                return 1000 * await self.ask(reader, writer, 1)

        return asyncio.run(run())


def measure() -> Iterator[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir="/var/tmp") as folder:
        for model, shape in (("201m", SHAPES["201m"]), ("tiny", TINY)):
            path = Path(folder) / f"{model}.gguf"
            write_random_gguf(path, shape)
            with _sides(model, path) as (gateway, direct):
                yield from _throughput(model, gateway, direct)
                if model == "tiny":
                    yield from _first_token(gateway, direct)


@contextmanager
def _sides(model: str, path: Path) -> Iterator[tuple[Side, Side]]:
    with serving_box({model: path}, policy=STRICTEST) as box:
        gateway, direct = Side(box, model, box.trust), Side(box, model, None)
        for side in (gateway, direct):
            side.throughput(8)
        yield gateway, direct


def _throughput(model: str, gateway: Side, direct: Side) -> Iterator[Figure]:
    tokens = TOKENS[model]
    suffix = "" if model == "201m" else f"_{model}"
    ours, theirs = in_turns(ROUNDS, lambda: gateway.throughput(tokens), lambda: direct.throughput(tokens))
    yield figure(f"gateway_tokens_per_s{suffix}", ours, "1/s", against=f"{CLIENTS} clients, {model} weights")
    yield ratio(f"gateway_throughput_ratio{suffix}", ours, theirs, against=DIRECT)
    if model == "tiny":
        spent = in_turns(ROUNDS, lambda: _processor_s(gateway, tokens))[0]
        yield figure("gateway_cpu_us_per_token", [1e6 * s / (CLIENTS * tokens) for s in spent], "us", against="TLS")


def _processor_s(gateway: Side, tokens: int) -> float:
    """Processor time that the gateway's process takes for one round, user and system."""
    stat = Path(f"/proc/{gateway.box.gateway.pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    gateway.throughput(tokens)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK")


def _first_token(gateway: Side, direct: Side) -> Iterator[Figure]:
    """Of the tiny model, whose own part is small; one request at a time."""
    ours, theirs = in_turns(FIRST_TOKENS, gateway.first_token_ms, direct.first_token_ms)
    added = [a - b for a, b in zip(ours, theirs, strict=True)]
    yield figure("gateway_added_ttft_ms", added, "ms", against=DIRECT)
