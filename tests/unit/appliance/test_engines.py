"""Engine units: what they are told, and how they are stopped with their volume."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.engines import CACHE_MOST_MIB, LOADING_MOST_S, Engines, environment, prompt_cache_mib
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import ToolError
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.errors import OperationError

PAYLOAD = PayloadStatus(
    payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN
)
MEMORY = 16 * 2**30
CORRUPTED = "  status:      corrupted\n"


class Recorder:
    """Stands where programs are run, and notes them: there is no systemd and no device-mapper here."""

    def __init__(self, answers: dict[str, str] | None = None, failing: str = "") -> None:
        self.seen: list[str] = []
        self._answers = answers or {}
        self._failing = failing

    def __call__(self, argv: Sequence[str], **_: object) -> str:
        self.seen.append(" ".join(argv))
        if argv[0] == self._failing:
            raise ToolError(argv[0], 1, "refused")
        return self._answers.get(argv[0], "")


def test_one_processor_stays_free() -> None:
    """All of them busy makes every thread wait for the others."""
    text = environment(Paths(), PAYLOAD, processors=8, memory=MEMORY, engines=2)
    assert "LLAMA_ARG_THREADS=3\n" in text
    assert "SEALWRIGHT_MODEL=/run/sealwright/payloads/medical/model.gguf\n" in text
    assert "LLAMA_ARG_THREADS=1\n" in environment(Paths(), PAYLOAD, processors=1, memory=MEMORY, engines=2)


def test_past_prompts_take_a_share_of_the_memory() -> None:
    """llama.cpp alone would take 8 GiB for each engine, also where there are fewer."""
    assert "LLAMA_ARG_CACHE_RAM=1024\n" in environment(Paths(), PAYLOAD, processors=8, memory=MEMORY, engines=2)


@given(memory=st.integers(0, 2**50), engines=st.integers(0, 64))
def test_all_prompt_caches_together_stay_within_their_share(memory: int, engines: int) -> None:
    """And never below none, which would mean no limit."""
    each = prompt_cache_mib(memory, engines)
    assert 0 <= each <= CACHE_MOST_MIB
    assert each * max(1, engines) * 2**20 <= memory / 8


def test_an_engine_is_started_with_its_environment(tmp_path: Path) -> None:
    """The unit reads the file that is there before it starts."""
    recorder = Recorder()
    paths = Paths(root=tmp_path)
    Engines(paths, execute=recorder).start([PAYLOAD])
    assert recorder.seen == ["systemctl start --no-block sealwright-engine@medical.service"]
    assert (paths.engine_environments / "medical").exists()


def test_stopping_goes_down_to_the_key(tmp_path: Path) -> None:
    """Unit, mount, verity, dm-crypt; a step that fails does not keep the others from being done."""
    recorder = Recorder({"dmsetup": "root\nsealwright-crypt-medical\n"}, failing="umount")
    with pytest.raises(OperationError, match="not wholly closed"):
        Engines(Paths(root=tmp_path), execute=recorder).stop("medical")
    steps = [line.split()[0] for line in recorder.seen]
    assert steps == ["systemctl", "umount", "veritysetup", "cryptsetup", "dmsetup"]


def test_what_an_earlier_try_has_closed_is_closed(tmp_path: Path) -> None:
    """The mount is gone, so that it cannot be undone again; the kernel has no device of this payload."""
    devices = {"dmsetup": "root\nsealwright-crypt-finance\n"}
    Engines(Paths(root=tmp_path), execute=Recorder(devices, failing="umount")).stop("medical")


@pytest.mark.parametrize("failing", ["systemctl", "dmsetup"])
def test_an_engine_that_may_still_run_is_not_closed(tmp_path: Path, failing: str) -> None:
    """It has the weights in its memory; nor is anything closed of which the kernel does not say so."""
    with pytest.raises(OperationError):
        Engines(Paths(root=tmp_path), execute=Recorder(failing=failing)).stop("medical")


def test_a_corrupted_payload_is_named(tmp_path: Path) -> None:
    """The engine never gets ready, and verity has seen why."""
    engines = Engines(Paths(root=tmp_path), execute=Recorder({"veritysetup": CORRUPTED}), sleep=lambda _: None)
    obstacle = engines.wait_until_ready("medical")
    assert obstacle is not None
    assert obstacle.code == BoxCode.PAYLOAD_CORRUPTED


def test_an_engine_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After a bounded time."""
    times = iter([0.0, 1.0, LOADING_MOST_S + 1])
    engines = Engines(Paths(root=tmp_path), execute=Recorder(), steady=lambda: next(times), sleep=lambda _: None)
    obstacle = engines.wait_until_ready("medical")
    assert obstacle is not None
    assert obstacle.code == BoxCode.ENGINE_FAILED


def test_an_engine_is_ready_when_its_socket_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """200 from /health; anything else, or nobody there, is not yet."""
    paths = Paths(root=tmp_path_factory.mktemp("box"))  # a socket's path may have 107 bytes
    place = paths.engine_socket("medical")
    place.parent.mkdir(parents=True)
    engines = Engines(paths, execute=Recorder())
    assert not engines.is_ready("medical")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        for status, ready in ((503, False), (200, True)):
            thread = threading.Thread(target=_answer_once, args=(listener, status))
            thread.start()
            assert engines.is_ready("medical") is ready
            thread.join()


def _answer_once(listener: socket.socket, status: int) -> None:
    connection, _ = listener.accept()
    with connection:
        asked = connection.recv(4096)
        assert asked.startswith(b"GET /health ")
        connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode())
