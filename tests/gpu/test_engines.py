"""Engines that compute on a GPU keep the contract that llama-server keeps on the CPU: ``make test-gpu``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwright_testing.engine_contract import CONTEXT, EngineContract
from sealwright_testing.llama_under_test import GPU_OPTIONS, LlamaUnderTest, cuda_server_binary
from sealwright_testing.models.random_folder import write_random_folder
from sealwright_testing.models.random_gguf import RandomShape
from sealwright_testing.vllm_process import VllmProcess

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
SHAPE = RandomShape(width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=1000, context=CONTEXT)


class TestVllm(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def under_test(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
        folder = tmp_path_factory.mktemp("v")
        write_random_folder(folder / "model", SHAPE)
        with VllmProcess(folder / "model", CONTEXT, folder / "log") as running:
            yield running


class TestLlamaServerOnCuda(EngineContract):
    @pytest.fixture(scope="class")
    @classmethod
    def under_test(cls) -> Iterator[LlamaUnderTest]:
        with LlamaUnderTest.of(SHAPE, binary=cuda_server_binary(), options=GPU_OPTIONS) as running:
            yield running
