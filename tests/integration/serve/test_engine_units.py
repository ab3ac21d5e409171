"""The engine's unit under a real systemd of the box's Debian: started and stopped by order, and back when it dies.

In a container, without what is compiled from domains (no AppArmor there) and without the launcher, which takes its
rules from that.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwright_appliance.engines import LOADING_DEATHS, ObservedEngine, environment, unit
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_appliance.volume_service import VolumeService
from sealwright_testing.debian_server import DebianServer, server_network
from sealwright_testing.engine_process import MEMORY, UNIT, unit_command
from sealwright_testing.llama import llama_server_binary
from sealwright_testing.running_box import wait_until

ADDRESS = "10.77.0.10"
TMPFILES = UNIT.parents[2] / "tmpfiles.d/sealwright.conf"
SYSUSERS = UNIT.parents[2] / "sysusers.d/sealwright.conf"
UNLOCK = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
VIEW = """\
TemporaryFileSystem=/run:mode=0755
BindReadOnlyPaths=/run/sealwright/payloads/medical
BindPaths=/run/sealwright/engine/medical
"""
"""Of what a domain's drop-in has: no engine comes through the folder of all sockets."""
PAYLOAD = PayloadStatus(
    payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN, context=4096
)


@dataclass(frozen=True)
class Machine:
    """A container, and the volume service whose programs run in it."""

    server: DebianServer
    service: VolumeService

    def shown(self, what: str) -> str:
        """A property of the engine's unit."""
        return self.server.run("systemctl", "show", "--value", f"--property={what}", unit("medical")).strip()

    def kill(self) -> None:
        """The engine dies, and systemd hears of it."""
        restarts = int(self.shown("NRestarts"))
        self.server.run("systemctl", "kill", "--signal=KILL", unit("medical"))
        wait_until(lambda: int(self.shown("NRestarts")) > restarts and self.shown("MainPID") != "0")

    def answers(self) -> bool:
        """Whether the model is loaded."""
        ask = "import http.client, socket; c = http.client.HTTPConnection('e'); c.sock = socket.socket(socket.AF_UNIX);"
        ask += "c.sock.connect('/run/sealwright/engine/medical/engine.sock'); c.request('GET', '/health');"
        return self.server.run("python3", "-c", f"{ask} print(c.getresponse().status)", check=False).strip() == "200"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, random_model: Path) -> Iterator[Machine]:
    """With one payload, whose engine is to be loaded first."""
    folder = tmp_path_factory.mktemp("m")
    paths = Paths(root=folder / "of-the-service")
    (paths.payloads / "medical").mkdir(parents=True)
    paths.engine_environments.mkdir()
    paths.engine_starts.mkdir()
    (paths.engine_environments / "medical").write_text(
        environment(Paths(), PAYLOAD, cores=2, memory=MEMORY, engines=1), encoding="utf-8"
    )
    (paths.engine_starts / "medical").touch()
    with server_network(folder) as network:
        server = network.boot("box", ADDRESS)
        _install(server, paths, random_model)

        def execute(argv: Sequence[str], **_: object) -> str:
            return server.run(*argv)

        yield Machine(server, VolumeService(paths, execute))


def _install(server: DebianServer, paths: Paths, model: Path) -> None:
    _put(server, SYSUSERS, "/etc/sysusers.d/sealwright.conf")
    _put(server, TMPFILES, "/etc/tmpfiles.d/sealwright.conf")
    server.run("systemd-sysusers")
    server.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/sealwright.conf")
    _put(server, llama_server_binary(), "/usr/lib/sealwright/bin/llama-server", mode="755")
    _put(server, model, "/run/sealwright/payloads/medical/model.gguf")
    server.run("chmod", "755", "/run/sealwright/payloads", "/run/sealwright/payloads/medical")
    _put(server, paths.engine_environments / "medical", "/run/sealwright/engine-environment/medical")
    _put(server, UNIT, "/etc/systemd/system/sealwright-engine@.service")
    server.run("tee", "/etc/systemd/system/sealwright-unlock.service", given=UNLOCK.encode())
    without_launcher = shlex.join(unit_command()[2:]).replace("'", "")
    drop_in = f"[Service]\nExecStart=\nExecStart={without_launcher}\n{VIEW}"
    server.run("mkdir", "/etc/systemd/system/sealwright-engine@.service.d")
    server.run("tee", "/etc/systemd/system/sealwright-engine@.service.d/50-test.conf", given=drop_in.encode())
    server.run("systemctl", "daemon-reload")


def _put(server: DebianServer, path: Path, target: str, mode: str = "644") -> None:
    server.run("install", "-D", f"--mode={mode}", server.copy(path), target)


def test_an_engine_is_started_first_and_then_by_order(machine: Machine) -> None:
    service = machine.service
    assert not service.engine_of("medical").runs
    service.start_units()
    assert service.engine_of("medical").runs
    wait_until(machine.answers)
    service.stop_engine("medical")
    assert not service.engine_of("medical").runs
    assert machine.shown("MainPID") == "0"
    service.stop_engine("medical")
    service.start_engine("medical")
    service.start_engine("medical")
    assert service.engine_of("medical").runs
    wait_until(machine.answers)


def test_an_engine_that_dies_comes_back_at_growing_intervals(machine: Machine) -> None:
    """It is never taken for one that was stopped, and never given up by systemd; an order begins anew."""
    service = machine.service
    service.start_engine("medical")
    intervals = [machine.shown("RestartUSecNext")]
    before = service.engine_of("medical").deaths
    for death in range(1, 4):
        machine.kill()
        assert service.engine_of("medical") == ObservedEngine(runs=True, deaths=before + death)
        intervals.append(machine.shown("RestartUSecNext"))
    seconds = [_seconds(one) for one in intervals]
    assert seconds == sorted(set(seconds)), intervals
    wait_until(machine.answers)
    service.stop_engine("medical")
    service.start_engine("medical")
    assert service.engine_of("medical").deaths == 0
    assert machine.shown("RestartUSecNext") == intervals[0]
    assert machine.shown("StartLimitIntervalUSec") == "0"


def _seconds(shown: str) -> float:
    """Of systemd's words for a time span (systemd.time(7))."""
    units = {"min": 60.0, "s": 1.0, "ms": 0.001, "us": 0.000001}
    return sum(float(number) * units[name] for number, name in re.findall(r"([\d.]+)(min|ms|us|s)\b", shown))


def test_a_death_as_a_model_loads_is_seen_before_it_is_started_again(machine: Machine) -> None:
    """A file that ends llama-server at once: the unit waits to start it again, and has counted nothing yet."""
    service, model = machine.service, "/run/sealwright/payloads/medical/model.gguf"
    service.stop_engine("medical")
    machine.server.run("mv", model, f"{model}.whole")
    machine.server.run("sh", "-c", f"head --bytes=100000 {model}.whole > {model}")
    service.start_engine("medical")
    wait_until(lambda: machine.shown("SubState") == "auto-restart")
    seen = service.engine_of("medical")
    assert seen.runs
    assert seen.deaths > 0
    wait_until(lambda: service.engine_of("medical").deaths >= LOADING_DEATHS)
    service.stop_engine("medical")
    assert not service.engine_of("medical").runs
    machine.server.run("mv", f"{model}.whole", model)
    service.start_engine("medical")
    wait_until(machine.answers)
