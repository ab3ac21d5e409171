"""Tokens in a second of engines on a GPU, by clients at once: ``python -m sealwright_testing.gpu_bench vllm|llama``.

A llama of 1.1 billion random weights: Q4_0 for llama-server, 16 bits each for vLLM, so the two are not to be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sealwright_appliance.serve.engine import Engine
from sealwright_testing.engine_contract import chat, new_tally
from sealwright_testing.llama_under_test import GPU_OPTIONS, LlamaUnderTest, cuda_server_binary
from sealwright_testing.models.random_folder import write_random_folder
from sealwright_testing.models.random_gguf import SHAPES
from sealwright_testing.vllm_process import VllmProcess

TOKENS = 256
CLIENTS = (1, 4)
"""An engine's places."""


async def one_client(engine: Engine, number: int) -> tuple[int, float]:
    """Tokens of a reply, and seconds to its first."""
    tally, began, first = new_tally(), time.monotonic(), 0.0
    question = [{"role": "user", "content": f"Question {number}: what is metformin?"}]
    async for _ in engine.stream(chat(messages=question, max_tokens=TOKENS, stream=True), tally):
        if not first and tally.completion_tokens:
            first = time.monotonic() - began
    return tally.completion_tokens, first


async def speed(engine: Engine, clients: int) -> dict[str, float]:
    """Of so many clients at once."""
    began = time.monotonic()
    told = await asyncio.gather(*(one_client(engine, number) for number in range(clients)))
    took = time.monotonic() - began
    tokens = sum(count for count, _ in told)
    first = max(first for _, first in told)
    return {"clients": clients, "tokens_per_s": round(tokens / took, 1), "longest_first_ms": round(first * 1000, 1)}


@contextmanager
def engine_of(kind: str, options: Sequence[str]) -> Iterator[Engine]:
    """A running one, with the model of this measurement."""
    shape = SHAPES["1.1b"]
    if kind == "llama":
        with LlamaUnderTest.of(shape, binary=cuda_server_binary(), options=(*GPU_OPTIONS, *options)) as llama:
            yield llama.engine
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_folder(folder / "model", shape)
        with VllmProcess(folder / "model", shape.context, folder / "log", tuple(options)) as vllm:
            yield vllm.engine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.gpu_bench", description=__doc__)
    parser.add_argument("engine", choices=["vllm", "llama"])
    parser.add_argument("options", nargs="*", help="of the engine, behind --")
    arguments = parser.parse_args()
    with engine_of(arguments.engine, arguments.options) as engine:
        asyncio.run(speed(engine, 1))
        for clients in CLIENTS:
            print(json.dumps({"engine": arguments.engine} | asyncio.run(speed(engine, clients))), flush=True)


if __name__ == "__main__":
    main()
