"""The agent as a process, and what it says while it can do little."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest

from sealwright_appliance import agent as agent_module
from sealwright_appliance.agent import Agent, _outflow, agent_server
from sealwright_appliance.agent_by_file import ByFile
from sealwright_appliance.agent_endpoints import create_agent_app
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.engines import Engines
from sealwright_appliance.files import write_durably
from sealwright_appliance.lease_keeper import Actions, LeaseKeeper
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.meter_keeper import MeterKeeper
from sealwright_appliance.metering.meter_store import MeterStore
from sealwright_appliance.outflow import box_outflow
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.outflow.extraction import Sign
from sealwright_appliance.outflow.key_states import KeyState
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import ToolError
from sealwright_appliance.status import BootResult, PayloadState, PayloadStatus, WorkloadRun, WorkloadStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.volume_service import VolumeService
from sealwright_appliance.workloads import ObservedRun
from sealwright_policies.errors import OperationError
from sealwright_policies.outflow import NOTHING_SAID
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.metering import ALL_TOLD, DEVICE, HOUR_MS, LICENSE, PARTITION, point

PROGRAM = """
import sys, threading
from sealwright_appliance.agent import end_with_any_thread
end_with_any_thread()
def fail(): raise IndexError("canary-of-a-patient")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
sys.exit(0)
"""


def test_a_thread_that_fails_ends_the_agent() -> None:
    """A keeper that died alone would leave the box serving for ever."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "level=CRITICAL error=IndexError in=<string>:5\n"


@pytest.mark.parametrize("path", ["/activation", "/activation/acknowledgement", "/activation/file/request"])
def test_a_box_whose_state_volume_is_closed_says_why_it_takes_no_claim(path: str, tmp_path: Path) -> None:
    boot = BootResult(state=BoxState.LOCKED, code=BoxCode.STATE_VOLUME, sentence="It is closed.", at=0, payloads=[])
    board = StatusBoard(boot, Console(()), lambda: 0.0)
    keeper = LeaseKeeper(board, Actions(lambda _: None, lambda: None, lambda _: None), threading.Lock(), "", None)
    outflow = BoxOutflow(tmp_path, NOTHING_SAID, frozenset())
    app = create_agent_app(board, None, ApiKeys(tmp_path / "api-keys.json"), ByFile.of(keeper, None, tmp_path), outflow)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent") as client:
            return await client.post(path, json={"claim_code": "A", "peer": ""})

    reply = asyncio.run(ask())
    assert reply.status_code == 409
    assert (reply.json()["code"], reply.json()["detail"]) == ("STATE_VOLUME", "It is closed.")


PAYLOAD = PayloadStatus(
    payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN
)
CORRUPTED = "  status:      corrupted\n"
STILL_OPEN = "sealwright-crypt-medical\n"


def agent_of_a_broken_payload(root: Path, devices: str) -> Agent:
    """Its engine never answers, verity says why, and the kernel has these devices after closing was tried."""
    answers = {"veritysetup status": CORRUPTED, "dmsetup info": devices, "systemctl show": "ActiveState=activating\n"}

    def execute(argv: Sequence[str], **_: object) -> str:
        if argv[:2] == ["dmsetup", "remove"]:
            raise ToolError("dmsetup", 1, "Device or resource busy")
        return answers.get(" ".join(argv[:2]), "")

    paths = Paths(root=root)
    boot = BootResult(state=BoxState.UNLOCKED, sentence="", at=0, payloads=[PAYLOAD])
    board = StatusBoard(boot, Console([root / "console"]), lambda: 0.0)
    volumes = VolumeService(paths, execute)
    engines = Engines(paths, volumes.is_corrupted, volumes.engine_of, sleep=lambda _: None)
    keeper = LeaseKeeper(board, Actions(volumes.close, lambda: None, lambda _: None), threading.Lock(), "", None)
    outflow = BoxOutflow(paths.outflow_used, NOTHING_SAID, frozenset())
    return Agent(paths, board, keeper, engines, volumes, None, ApiKeys(paths.api_keys), outflow)


@pytest.mark.parametrize(("devices", "said"), [(STILL_OPEN, True), ("root\n", False)])
def test_a_given_up_payload_that_does_not_close_says_so(tmp_path: Path, devices: str, *, said: bool) -> None:
    """Beside what was wrong with it in the first place."""
    agent = agent_of_a_broken_payload(tmp_path, devices)
    agent.watch_engines()
    (payload,) = agent.board.status.payloads
    assert (payload.state, payload.code) == (PayloadState.FAILED, BoxCode.PAYLOAD_CORRUPTED)
    assert ("is not wholly closed" in payload.sentence) is said


def test_what_the_agents_server_says_goes_where_all_lines_go(tmp_path: Path) -> None:
    """To the root logger, whose lines name kinds and places alone: uvicorn has no handler of its own."""
    uvicorns = logging.getLogger("uvicorn")
    uvicorns.handlers.clear()  # another test's server had some
    uvicorns.propagate = True
    agent = agent_of_a_broken_payload(tmp_path, "root\n")
    boot = BootResult(state=BoxState.UNLOCKED, sentence="", at=0, payloads=[PAYLOAD])
    write_durably(agent.paths.boot_result, document_bytes(boot))
    agent_server(agent)
    said = logging.getLogger("uvicorn.error")
    assert said.getEffectiveLevel() == logging.WARNING
    while said.parent is not None:
        assert said.propagate
        assert not said.handlers
        said = said.parent


def full(path: Path, _: bytes) -> None:
    """A disk that takes nothing."""
    raise OperationError(f"{path}: no space left.")


class Meters:
    """Where the agent's meter stands."""

    def __init__(self, meter: BoxMeter) -> None:
        self.meter = meter


def test_what_looks_like_copying_comes_into_the_receipts_before_it_is_kept(tmp_path: Path) -> None:
    """So that a power cut in between cannot hide it; and while it cannot be counted, nothing is taken for kept."""
    agent = agent_of_a_broken_payload(tmp_path, "root\n")
    store, service = MeterStore(tmp_path / "metering"), LicenseService.model_construct(**{})  # reports to nobody
    meter = BoxMeter(store, service, DEVICE, LICENSE, {"medical": PARTITION}, {"medical": ALL_TOLD})
    meter.open(point(0))
    outflow = _outflow(agent.paths, agent.board, cast(MeterKeeper, Meters(meter)))
    risen = KeyState(model="medical", key="ward", sign=Sign.HARVEST, level=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(box_outflow, "write_durably", full)
        with pytest.raises(OperationError):
            outflow.count([risen])
    assert [one.copying_alarms for one in meter.journal().models] == [1]
    outflow.count([risen])
    outflow.count([risen])
    assert [one.copying_alarms for one in meter.close(point(HOUR_MS), 1).receipt.models] == [2]


def test_a_box_without_a_model_that_works_stays_ended(tmp_path: Path) -> None:
    """For an agent that restarts in this boot."""
    agent = agent_of_a_broken_payload(tmp_path, "root\n")
    kept: list[BoxState] = []
    agent.keeper.actions = Actions(agent.volumes.close, lambda: None, lambda status: kept.append(status.state))
    agent.watch_engines()
    assert agent.board.status.state is BoxState.ENDED
    assert kept == [BoxState.ENDED]


def test_an_end_while_engines_load_is_the_end(tmp_path: Path) -> None:
    """The keeper's thread does not wait for the one that watches: neither fails, and what is closed stays closed."""
    agent = agent_of_a_broken_payload(tmp_path, "root\n")

    def end(_: float) -> None:
        if agent.board.status.state is BoxState.UNLOCKED:
            agent.board.change(BoxState.ENDED, "The licence is revoked.", code="REVOKED")
            agent.board.set_payload("medical", PayloadState.CLOSED)

    agent.engines = replace(agent.engines, sleep=end)
    agent.watch_engines()
    (payload,) = agent.board.status.payloads
    assert (agent.board.status.code, payload.state) == ("REVOKED", PayloadState.CLOSED)


def test_the_customer_hears_that_the_place_for_results_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the workload has ended, on the console and in the status."""
    monkeypatch.setattr(agent_module, "LOOK_S", 0.0)
    agent = agent_of_a_broken_payload(tmp_path, "root\n")
    boot = BootResult(
        state=BoxState.UNLOCKED, sentence="", at=0, payloads=[PAYLOAD],
        workloads=(WorkloadStatus(payload_id="lora", domain="training"),),
    )  # fmt: skip
    agent.board = StatusBoard(boot, Console([tmp_path / "console"]), lambda: 0.0)
    seen = iter([ObservedRun(WorkloadRun.RUNNING), ObservedRun(WorkloadRun.FAILED, results_full=True)])
    monkeypatch.setattr(VolumeService, "run_of", lambda *_: next(seen))
    agent.watch_workloads()
    (workload,) = agent.board.status.workloads
    assert (workload.run, workload.sentence) == (WorkloadRun.FAILED, agent_module.RESULTS_FULL)
    assert f"workload lora: failed: {agent_module.RESULTS_FULL}" in (tmp_path / "console").read_text()
