"""The gateway against llama-server itself: the same requests over TLS through the one, and to the other's own socket.

One llama-server, started as in the box, serves both sides in turns; eight clients at once read streams of a fixed
number of tokens. The client costs the same on both sides, TLS apart, and parses nothing. ``gateway_throughput_ratio``
is of a model of a size that is really served on a CPU, 201 M weights; ``gateway_throughput_ratio_tiny`` of one that
makes a token in well under a millisecond, where the gateway's own work is most of all. ``gateway_cpu_us_per_token``
is the gateway's processor time, which other load on the machine disturbs least. ``speedup_vs_llama_cpp_server_8`` is
of the box as a whole, gateway and engine, against llama-cpp-python's own server with the same file.

Then several clients of the 201 M model: ``light_ttft_ratio`` is what a client that asks now and then waits for its
first token beside one that never stops, less one step of the engine, against what it waits alone, both at the 95th
percentile; ``streams_100_errors`` counts broken replies among a hundred streams at once. At last a model of 1.1 G
weights is loaded from a cold cache, against reading its file (:mod:`sealwright_testing.loading_bench`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sealwright_policies.outflow import STRICTEST
from sealwright_testing.bench import Figure, figure, in_turns, ratio
from sealwright_testing.llama_cpp_server import llama_cpp_server
from sealwright_testing.loading_bench import measure_loading
from sealwright_testing.models.random_gguf import SHAPES, RandomShape, write_random_gguf
from sealwright_testing.serving import LONG_REPLIES, ServingBox, serving_box
from sealwright_testing.stream_client import CLIENTS, BrokenReplyError, Side

ROUNDS = 7
FIRST_TOKENS = 40
"""Requests a side for the time to the first token."""
TINY = RandomShape(width=256, feed_forward=704, layers=4, heads=4, kv_heads=2, vocabulary=2000)
TOKENS = {"201m": 48, "tiny": 400}
DIRECT = "llama-server's socket, in turns"
HEAVY_STREAMS, HEAVY_TOKENS = 8, 400
LIGHT_REQUESTS, LIGHT_ROUNDS = 20, 3
LIGHT_PAUSE_S = 0.25
CROWD, CROWD_TOKENS = 100, 24
MIB = 2**20


def measure() -> Iterator[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir="/var/tmp") as folder:
        for model, shape in (("201m", SHAPES["201m"]), ("tiny", TINY)):
            path = Path(folder) / f"{model}.gguf"
            write_random_gguf(path, shape)
            with serving_box({model: path}, policy=STRICTEST) as box:
                yield from _gateway(model, box)
        yield from _beside_peer(Path(folder) / "201m.gguf")
        yield from _crowds(Path(folder) / "201m.gguf")
        yield from measure_loading(Path(folder))


def _gateway(model: str, box: ServingBox) -> Iterator[Figure]:
    gateway, direct = _through(box, model), Side(box.engines[model].socket, model)
    for side in (gateway, direct):
        side.throughput(8)
    yield from _throughput(model, gateway, direct)
    if model == "tiny":
        spent = [_processor_s(box.gateway.pid, gateway) for _ in range(ROUNDS)]
        yield figure(
            "gateway_cpu_us_per_token", [1e6 * s / (CLIENTS * TOKENS[model]) for s in spent], "us", against="TLS"
        )
        yield from _first_token(gateway, direct)


def _through(box: ServingBox, model: str, key: str = "") -> Side:
    return Side(box.port, model, box.trust, key or box.api_key)


def _throughput(model: str, gateway: Side, direct: Side) -> Iterator[Figure]:
    tokens = TOKENS[model]
    suffix = "" if model == "201m" else f"_{model}"
    ours, theirs = in_turns(ROUNDS, lambda: gateway.throughput(tokens), lambda: direct.throughput(tokens))
    yield figure(f"gateway_tokens_per_s{suffix}", ours, "1/s", against=f"{CLIENTS} clients, {model} weights")
    yield ratio(f"gateway_throughput_ratio{suffix}", ours, theirs, against=DIRECT)


def _processor_s(pid: int, gateway: Side) -> float:
    """Processor time that the gateway's process takes for one round, user and system."""
    stat = Path(f"/proc/{pid}/stat")

    def ticks() -> int:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    gateway.throughput(TOKENS[gateway.model])
    return (ticks() - before) / os.sysconf("SC_CLK_TCK")


def _first_token(gateway: Side, direct: Side) -> Iterator[Figure]:
    """Of the tiny model, whose own part is small; one request at a time."""
    ours, theirs = in_turns(FIRST_TOKENS, gateway.first_token_ms, direct.first_token_ms)
    added = [a - b for a, b in zip(ours, theirs, strict=True)]
    yield figure("gateway_added_ttft_ms", added, "ms", against=DIRECT)


def _beside_peer(model: Path) -> Iterator[Figure]:
    """Both have all processors, and are asked in turns."""
    tokens = TOKENS["201m"]
    with serving_box({"201m": model}, policy=STRICTEST) as box, llama_cpp_server(model) as peer:
        gateway = _through(box, "201m")
        for side in (gateway, peer):
            side.throughput(8)
        ours, theirs = in_turns(ROUNDS, lambda: gateway.throughput(tokens), lambda: peer.throughput(tokens))
    yield figure("llama_cpp_server_tokens_per_s", theirs, "1/s", against=f"{CLIENTS} clients, 201m weights")
    yield ratio("speedup_vs_llama_cpp_server_8", ours, theirs, against="llama_cpp.server, in turns")


def _crowds(model: Path) -> Iterator[Figure]:
    with serving_box({"201m": model}, policy=LONG_REPLIES) as box:
        heavy, light = (_through(box, "201m", key) for key in (box.api_key, box.admin_key))
        light.throughput(8)
        yield from _fairness(heavy, light)
        yield from _hundred(box.gateway.pid, heavy)


def _fairness(heavy: Side, light: Side) -> Iterator[Figure]:
    alone, beside, steps = [], [], []
    for _ in range(LIGHT_ROUNDS):
        alone.append(_p95(asyncio.run(_now_and_then(light))))
        waited, step = asyncio.run(_beside(heavy, light))
        beside.append(_p95(waited))
        steps.append(step)
    yield figure("light_ttft_alone_ms", [1000 * one for one in alone], "ms", against="95th percentile")
    yield figure("light_ttft_beside_ms", [1000 * one for one in beside], "ms", against=f"{HEAVY_STREAMS} streams")
    yield figure("engine_step_ms", [1000 * one for one in steps], "ms")
    less = [max(0.0, waited - step) for waited, step in zip(beside, steps, strict=True)]
    yield ratio("light_ttft_ratio", less, alone, against="alone; one step of the engine taken off")


def _p95(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=20)[-1]


async def _now_and_then(light: Side) -> list[float]:
    """Seconds to the first token of one request behind the other, on one connection."""
    waited = []
    async with light.connection() as (reader, writer):
        for _ in range(LIGHT_REQUESTS):
            waited.append(await light.ask(reader, writer, 1))
            await asyncio.sleep(LIGHT_PAUSE_S)
    return waited


async def _beside(heavy: Side, light: Side) -> tuple[list[float], float]:
    """The same while another key's streams never end, and the time of one step of the engine under them."""
    made = 0

    async def never_ending() -> None:
        nonlocal made
        while True:
            async with heavy.connection() as (reader, writer):
                await heavy.ask(reader, writer, HEAVY_TOKENS)
                made += HEAVY_TOKENS

    streams = [asyncio.create_task(never_ending()) for _ in range(HEAVY_STREAMS)]
    begin = time.perf_counter()
    waited = await _now_and_then(light)
    while made == 0:
        await asyncio.sleep(0.1)
    # Three of the streams have places beside the light one; each step gives each of them a token.
    step = (time.perf_counter() - begin) * 3 / made
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    return waited, step


def _hundred(pid: int, side: Side) -> Iterator[Figure]:
    """A hundred at once, of which four run; memory is the gateway's, at its peak since it began."""
    broken = 0

    async def client() -> None:
        nonlocal broken
        try:
            async with side.connection() as (reader, writer):
                await side.ask(reader, writer, CROWD_TOKENS)
        except (BrokenReplyError, asyncio.IncompleteReadError, OSError):
            broken += 1

    async def run() -> None:
        await asyncio.gather(*(client() for _ in range(CROWD)))

    before = _memory(pid, "VmRSS")
    asyncio.run(run())
    yield figure("streams_100_errors", [broken], "", against=f"{CROWD} streams of {CROWD_TOKENS} tokens at once")
    grown = (_memory(pid, "VmHWM") - before) / MIB
    yield figure("streams_100_memory_mib", [grown], "MiB", against="the gateway before it")


def _memory(pid: int, name: str) -> int:
    """Bytes of the gateway."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")))
