"""The service that closes volumes: what it does, in which order, and for whom."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sealwright_appliance.engines import ObservedEngine, observed_engine
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_volumes import ResultVolumes
from sealwright_appliance.run import ToolError
from sealwright_appliance.site.units import TIME_FILE
from sealwright_appliance.status import WorkloadRun
from sealwright_appliance.volume_client import VolumeClient
from sealwright_appliance.volume_messages import MESSAGE_LIMIT
from sealwright_appliance.volume_service import VolumeService, serve
from sealwright_appliance.workloads import ObservedRun
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, WorkloadPlan

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


def box(root: Path) -> Paths:
    """A box with one payload, unlocked."""
    paths = Paths(root=root)
    (paths.payloads / "medical").mkdir(parents=True)
    paths.engine_environments.mkdir()
    (paths.engine_environments / "medical").write_text("SEALWRIGHT_MODEL=x\n")
    paths.engine_starts.mkdir()
    (paths.engine_starts / "medical").touch()
    return paths


def test_engines_are_started_that_unlocking_has_prepared(tmp_path: Path) -> None:
    """Once: a service that is started again does not load what has made room since."""
    recorder, paths = Recorder(), box(tmp_path)
    (paths.engine_environments / "finance").touch()  # for which there was no room
    VolumeService(paths, recorder).start_units()
    assert recorder.seen == ["systemctl start --no-block sealwright-engine@medical.service"]
    VolumeService(paths, recorder).start_units()
    assert len(recorder.seen) == 1


def test_an_engine_starts_and_stops_by_order_until_its_payload_is_closed(tmp_path: Path) -> None:
    recorder = Recorder({"systemctl": "ActiveState=activating\nSubState=auto-restart\nNRestarts=2\n"})
    service = VolumeService(box(tmp_path), recorder)
    service.start_engine("medical")
    service.stop_engine("medical")
    assert service.engine_of("medical") == ObservedEngine(runs=True, deaths=3)
    assert recorder.seen == [
        "systemctl start sealwright-engine@medical.service",
        "systemctl stop sealwright-engine@medical.service",
        "systemctl show --property=ActiveState --property=SubState --property=Job --property=NRestarts "
        "sealwright-engine@medical.service",
    ]
    service.close("medical")
    with pytest.raises(OperationError, match="no engine for medical"):
        service.start_engine("medical")


@pytest.mark.parametrize(
    ("shown", "runs", "deaths"),
    [
        ("ActiveState=active\nSubState=running\nNRestarts=0\n", True, 0),
        ("ActiveState=activating\nSubState=auto-restart\nNRestarts=0\n", True, 1),
        ("ActiveState=activating\nSubState=auto-restart-queued\nNRestarts=1\n", True, 1),
        ("ActiveState=active\nSubState=running\nNRestarts=1\n", True, 1),
        ("Job=31\nActiveState=inactive\n", True, 0),
        ("ActiveState=inactive\n", False, 0),
        ("ActiveState=failed\nNRestarts=x\n", False, 0),
        ("", False, 0),
    ],
)
def test_an_engine_runs_also_while_systemd_waits_to_start_it_again(shown: str, deaths: int, *, runs: bool) -> None:
    """Its last death counts from the moment in which it happens."""
    assert observed_engine(shown) == ObservedEngine(runs, deaths)


def test_workloads_are_started_beside_engines_and_stopped_before_anything_that_they_may_read(tmp_path: Path) -> None:
    recorder, paths = Recorder(), box(tmp_path)
    paths.workloads.mkdir()
    (paths.workloads / "training").touch()
    service = VolumeService(paths, recorder)
    service.start_units()
    service.close("medical")
    start, stop_engine, stop_workloads, *closing = recorder.seen
    assert start == (
        "systemctl start --no-block sealwright-engine@medical.service sealwright-workload@training.service"
    )
    assert stop_engine == "systemctl stop sealwright-engine@medical.service"
    assert stop_workloads == "systemctl stop sealwright-workload@*.socket sealwright-workload@*.service"
    assert closing[0].startswith("umount ")
    service.start_units()
    assert recorder.seen[-1].startswith("dmsetup ")  # neither is started again


def test_an_adapters_engine_is_stopped_before_the_model_that_it_has_open_and_its_file_goes_with_it(
    tmp_path: Path,
) -> None:
    recorder, paths = Recorder(), box(tmp_path)
    service, file = VolumeService(paths, recorder), paths.payloads / "tuned/adapter.gguf"
    file.parent.mkdir()
    file.touch()
    (paths.engine_environments / "tuned").write_text(f"SEALWRIGHT_MODEL={paths.payloads}/medical/model.gguf\n")
    (paths.engine_environments / "other").write_text(f"SEALWRIGHT_MODEL={paths.payloads}/medical-2/model.gguf\n")
    for name in ("tuned", "other"):
        (paths.engine_starts / name).touch()
    service.close("medical")
    stopped = [line for line in recorder.seen if line.startswith("systemctl stop")]
    assert stopped == [f"systemctl stop sealwright-engine@{one}.service" for one in ("medical", "tuned")]
    service.close("tuned")
    assert not file.exists()
    service.start_units()
    assert recorder.seen[-1] == "systemctl start --no-block sealwright-engine@other.service"


@pytest.mark.parametrize(
    ("shown", "run"),
    [
        ("ActiveState=active\nSubState=running\n", WorkloadRun.RUNNING),
        ("ActiveState=activating\nSubState=start\n", WorkloadRun.RUNNING),
        ("ActiveState=active\nSubState=exited\n", WorkloadRun.DONE),
        ("ActiveState=failed\nSubState=failed\n", WorkloadRun.FAILED),
        ("ActiveState=inactive\nSubState=dead\n", WorkloadRun.WAITING),
        ("", WorkloadRun.WAITING),
    ],
)
def test_how_far_a_workload_has_come_is_told_by_its_unit(tmp_path: Path, shown: str, run: WorkloadRun) -> None:
    recorder = Recorder({"systemctl": shown})
    assert VolumeService(box(tmp_path), recorder).run_of("training") == ObservedRun(run)
    assert recorder.seen == [
        "systemctl show --property=ActiveState --property=SubState sealwright-workload@training.service"
    ]
    assert VolumeService(box(tmp_path / "other"), Recorder(failing="systemctl")).run_of("training") is None


def test_that_results_are_full_is_told_of_a_run_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever were told while it runs would hear whatever it says by filling and emptying its place."""
    paths = box(tmp_path)
    plans = ReleaseWorkloads(version=1, workloads={"training": WorkloadPlan(domain="makes", reads=())})
    paths.workload_plans.parent.mkdir(parents=True)
    paths.workload_plans.write_bytes(document_bytes(plans))
    monkeypatch.setattr(ResultVolumes, "is_full", lambda _, domain: domain == "makes")
    told = {
        shown: VolumeService(paths, Recorder({"systemctl": shown})).run_of("training")
        for shown in (
            "ActiveState=active\nSubState=running",
            "ActiveState=active\nSubState=exited",
            "ActiveState=failed",
        )
    }
    assert list(told.values()) == [
        ObservedRun(WorkloadRun.RUNNING),
        ObservedRun(WorkloadRun.DONE, results_full=True),
        ObservedRun(WorkloadRun.FAILED, results_full=True),
    ]


def test_a_locked_box_starts_none(tmp_path: Path) -> None:
    recorder = Recorder()
    VolumeService(Paths(root=tmp_path), recorder).start_units()
    assert recorder.seen == []


def test_stopping_goes_down_to_the_key(tmp_path: Path) -> None:
    """Unit, mount, verity, dm-crypt; a step that fails does not keep the others from being done."""
    recorder = Recorder({"dmsetup": "root\nsealwright-crypt-medical\n"}, failing="umount")
    with pytest.raises(OperationError, match="not wholly closed"):
        VolumeService(box(tmp_path), recorder).close("medical")
    steps = [line.split()[0] for line in recorder.seen]
    assert steps == ["systemctl", "umount", "veritysetup", "dmsetup", "dmsetup"]


def test_what_was_closed_is_not_started_again(tmp_path: Path) -> None:
    """By a service that systemd has started anew."""
    paths, recorder = box(tmp_path), Recorder()
    VolumeService(paths, Recorder()).close("medical")
    VolumeService(paths, recorder).start_units()
    assert recorder.seen == []


def test_what_an_earlier_try_has_closed_is_closed(tmp_path: Path) -> None:
    """The mount is gone, so that it cannot be undone again; the kernel has no device of this payload."""
    devices = {"dmsetup": "root\nsealwright-crypt-finance\n"}
    VolumeService(box(tmp_path), Recorder(devices, failing="umount")).close("medical")


@pytest.mark.parametrize("failing", ["systemctl", "dmsetup"])
def test_an_engine_that_may_still_run_is_not_closed(tmp_path: Path, failing: str) -> None:
    """It has the weights in its memory; nor is anything closed of which the kernel does not say so."""
    with pytest.raises(OperationError):
        VolumeService(box(tmp_path), Recorder(failing=failing)).close("medical")


class Connected:
    """Service and client, and what was run between them."""

    def __init__(self, root: Path, recorder: Recorder) -> None:
        self.recorder = recorder
        self.paths = box(root)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.paths.volumes_socket))
        self._listener.listen()
        self._thread = threading.Thread(target=serve, args=(VolumeService(self.paths, recorder), self._listener))
        self._thread.start()
        self.client = VolumeClient(self.paths.volumes_socket)

    def sent(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.paths.volumes_socket))
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(MESSAGE_LIMIT)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def connected(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Connected]:
    made = Connected(tmp_path_factory.mktemp("box"), getattr(request, "param", None) or Recorder())
    yield made
    made.end()


def test_the_site_is_applied_and_its_readers_told(tmp_path: Path) -> None:
    """systemd's time service begins before the state volume is there, and is told at the start too."""
    recorder, paths = Recorder(), box(tmp_path)
    VolumeService(paths, recorder).apply_site()
    assert recorder.seen == [
        "systemctl restart sealwright-site.service",
        "systemctl restart systemd-networkd.service systemd-timesyncd.service",
    ]
    (paths.systemd_run / TIME_FILE).parent.mkdir(parents=True)
    (paths.systemd_run / TIME_FILE).touch()
    started = Recorder()
    VolumeService(paths, started).start_units()
    assert started.seen[-1] == "systemctl try-restart --no-block systemd-timesyncd.service"


def test_the_agent_has_a_payload_closed_and_the_box_restarted(connected: Connected) -> None:
    connected.client.close("medical")
    connected.client.restart()
    assert connected.recorder.seen[0] == "systemctl stop sealwright-engine@medical.service"
    assert connected.recorder.seen[-1] == "systemctl reboot"


def test_the_agent_has_results_removed_whose_days_are_over(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def forget(_: VolumeService, now: int) -> tuple[str, ...]:
        asked.append(now)
        return ("tuned",)

    monkeypatch.setattr(VolumeService, "forget", forget)
    assert connected.client.forget(1_800_000_000) == ("tuned",)
    assert asked == [1_800_000_000]


@pytest.mark.parametrize("connected", [Recorder({"veritysetup": CORRUPTED})], indirect=True)
def test_the_agent_hears_of_damage(connected: Connected) -> None:
    assert connected.client.is_corrupted("medical")


@pytest.mark.parametrize("connected", [Recorder({"dmsetup": "sealwright-medical"}, "umount")], indirect=True)
def test_the_agent_hears_what_did_not_close(connected: Connected) -> None:
    with pytest.raises(OperationError, match="medical is not wholly closed: umount"):
        connected.client.close("medical")


@pytest.mark.parametrize("name", ["finance", "..", ".", "medical/../medical", "/", ""])
def test_nothing_is_done_for_what_is_no_payload_of_this_box(connected: Connected, name: str) -> None:
    reply = connected.sent(b'{"operation": "close", "payload_id": "%s"}' % name.encode())
    assert b"error" in reply
    assert connected.recorder.seen == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"close medical",
        b'{"operation": "open", "payload_id": "medical"}',
        b'{"operation": "close"}',
        b'{"operation": "forget"}',
        b'{"operation": "forget", "now": -1}',
        b'{"operation": "close", "payload_id": "medical", "command": "sh"}',
        b" " * (MESSAGE_LIMIT + 1),
    ],
)
def test_what_is_no_request_changes_nothing(connected: Connected, request_bytes: bytes) -> None:
    assert b"error" in connected.sent(request_bytes)
    assert connected.recorder.seen == []


def test_nobody_to_ask_is_an_error_that_is_told(tmp_path: Path) -> None:
    client = VolumeClient(tmp_path / "absent")
    with pytest.raises(OperationError, match="volume service does not answer"):
        client.close("medical")
    assert not client.is_corrupted("medical")


OWN = ReleaseWorkloads(
    version=1,
    workloads={"tuner": WorkloadPlan(domain="tuning", reads=("medical",))},
    adapters={"own": AdapterPlan(domain="tuning", base="medical", trainer="tuner", own=2)},
)


def test_a_trainer_waits_on_its_socket_and_the_adapter_service_goes_on_with_what_was_cut(tmp_path: Path) -> None:
    """What is started with the box is neither the trainer nor the engine of adapters that there may be."""
    recorder, paths = Recorder(), box(tmp_path)
    write_durably(paths.workload_plans, document_bytes(OWN))
    paths.workloads.mkdir()
    (paths.workloads / "tuner").touch()
    VolumeService(paths, recorder).start_units()
    assert recorder.seen == [
        "systemctl start --no-block sealwright-engine@medical.service sealwright-workload@tuner.socket"
        " sealwright-adapters.service"
    ]


def test_an_engine_is_told_of_the_adapters_that_there_are_as_it_starts(tmp_path: Path) -> None:
    """By their names, and of nothing else that lies in their folder."""
    paths = box(tmp_path)
    write_durably(paths.workload_plans, document_bytes(OWN))
    (paths.engine_environments / "own").write_text("SEALWRIGHT_MODEL=m\nSEALWRIGHT_ADAPTER=\nLLAMA_ARG_THREADS=1\n")
    served = paths.served_adapters("own")
    served.mkdir(parents=True)
    names = [f"adapter-{letter * 24}.gguf" for letter in "ab"]
    for name in (*names, f".{names[0]}.new", "adapter-x.gguf", "a --host 0.0.0.0.gguf", f"{names[0]}\nX=1"):
        (served / name).touch()
    service = VolumeService(paths, Recorder())
    seen = [str(paths.payloads / "own" / name) for name in names]

    def told() -> list[str]:
        service.start_engine("own")
        return (paths.engine_environments / "own").read_text().splitlines()

    assert told() == [
        "SEALWRIGHT_MODEL=m",
        f"SEALWRIGHT_ADAPTER=--lora-init-without-apply --lora {','.join(seen)}",
        "LLAMA_ARG_THREADS=1",
    ]
    (served / names[0]).unlink()
    assert told()[1] == f"SEALWRIGHT_ADAPTER=--lora-init-without-apply --lora {seen[1]}"
    (served / names[1]).unlink()
    assert told()[1] == "SEALWRIGHT_ADAPTER="
    service.start_engine("medical")
    assert (paths.engine_environments / "medical").read_text() == "SEALWRIGHT_MODEL=x\n"
