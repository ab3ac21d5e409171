"""What the build thinks that an engine takes, against what a real one has taken at its height."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sealwright_appliance.engine_placement import need_mib
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_image.engine_memory import engine_need
from sealwright_image.gguf import read_gguf
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.models.random_gguf import SHAPES, RandomShape, write_random_gguf

PAYLOAD = PayloadStatus(
    payload_id="random", kind="model", domain="random", file_name="model.gguf", state=PayloadState.OPEN
)
CASES = {
    "long context": RandomShape(
        width=512, feed_forward=1024, layers=4, heads=8, kv_heads=4, vocabulary=2000, context=32_768
    ),
    "many tokens": RandomShape(
        width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=100_000, context=4096
    ),
    "as many keys as queries": RandomShape(
        width=512, feed_forward=1024, layers=4, heads=8, kv_heads=8, vocabulary=2000, context=8192
    ),
    "a wide layer": RandomShape(
        width=2048, feed_forward=8192, layers=2, heads=32, kv_heads=4, vocabulary=32_000, context=2048
    ),
    "201 M weights": dataclasses.replace(SHAPES["201m"], context=4096),
}


def height_mib(engine: EngineProcess) -> int:
    """Most that the process ever had in memory (proc_pid_status(5), VmHWM)."""
    assert engine.process is not None
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
@pytest.mark.parametrize("share", [1, 2])
def test_an_engine_takes_what_was_thought_or_less(
    tmp_path_factory: pytest.TempPathFactory, shape: RandomShape, share: int
) -> None:
    """At work, with prompts that fill several batches and four replies at once; with all of its context, and half.

    What is thought is not far from the truth either, or models would take turns that fit together.
    """
    paths = Paths(root=tmp_path_factory.mktemp("e"), gateway_group=None, agent_user=None)
    model = paths.payloads / "random/model.gguf"
    model.parent.mkdir(parents=True)
    write_random_gguf(model, shape)
    need = engine_need(read_gguf(model), embeddings=False)
    assert need.context == shape.context
    thought = need_mib(need, shape.context // share)
    payload = PAYLOAD.model_copy(update={"context": shape.context // share})
    options = ("--cache-ram", "0")  # past prompts have a share of their own
    with EngineProcess(paths, payload, options) as engine, engine.client() as client:
        assert client.get("/props").json()["default_generation_settings"]["n_ctx"] == shape.context // share
        request = {"prompt": ["word " * 120] * 4, "max_tokens": 8}
        client.post("/v1/completions", json=request).raise_for_status()
        taken = height_mib(engine)
    model.unlink()
    assert taken <= thought
    assert thought <= 1.5 * taken + 64
