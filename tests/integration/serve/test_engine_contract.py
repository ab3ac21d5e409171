"""llama-server, as the image has it, keeps the contract of engines; those of machines with GPUs: tests/gpu."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwright_testing.engine_contract import CONTEXT, EngineContract
from sealwright_testing.llama_under_test import LlamaUnderTest
from sealwright_testing.models.random_gguf import RandomShape

SHAPE = RandomShape(width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=1000, context=CONTEXT)


class TestLlamaServer(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def under_test(cls) -> Iterator[LlamaUnderTest]:
        with LlamaUnderTest.of(SHAPE) as running:
            yield running
