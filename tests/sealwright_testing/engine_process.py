"""An engine as systemd starts it in the box: the command line of the unit, the environment that the agent writes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx

from sealwright_appliance.engines import environment
from sealwright_appliance.own_adapters import name_own_adapters
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_outflow
from sealwright_appliance.results import OWN_ADAPTERS
from sealwright_appliance.status import PayloadStatus
from sealwright_appliance.workloads import load_workloads
from sealwright_policies.domains.compiler.units import ENGINE
from sealwright_policies.errors import OperationError
from sealwright_testing.llama import llama_server_binary

UNIT = Path(__file__).resolve().parents[2] / "image/mkosi/mkosi.extra/usr/lib/systemd/system/sealwright-engine@.service"
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 20.0
MEMORY = 4 * 2**30
"""Of the box that is played."""
_RUN = "/run/sealwright"


@cache
def unit_command() -> tuple[str, ...]:
    """``ExecStart`` of the engine unit, its specifiers and variables not yet replaced."""
    lines = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    return tuple(shlex.split(lines[0].removeprefix("ExecStart=")))


def command(
    paths: Paths, payload: PayloadStatus, variables: Mapping[str, str], binary: Path | None = None
) -> list[str]:
    """The unit's command line behind the launcher, for one payload of a box under ``paths.root``.

    Args:
        variables: of the unit's environment file; as systemd has it, ``$NAME`` that stands alone is as many words as
            its value has, and ``${NAME}`` is one (systemd.service(5), "Command lines").
        binary: another llama-server than the image's.
    """
    words = [str(binary or llama_server_binary())]
    for word in unit_command()[unit_command().index(ENGINE) + 1 :]:
        if word.startswith("$") and not word.startswith("${"):
            words += variables.get(word[1:], "").split()
        else:
            placed = word.replace(_RUN, str(paths.run)).replace("%i", payload.payload_id)
            words.append(re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], placed))
    return words


@dataclass
class EngineProcess:
    """A llama-server on its socket under ``paths.root``; ``with`` starts and stops it.

    ``/metrics`` is switched on besides the unit's flags, through the environment: tests look there for what still runs.
    """

    paths: Paths
    payload: PayloadStatus
    options: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    """What executes it; none: it is executed as it is, without a sandbox."""
    binary: Path | None = None
    """Another llama-server than the image's."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """While it runs."""
        return self._process

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.paths.engine_socket(self.payload.payload_id)

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.paths.root / f"engine-{self.payload.payload_id}.log"

    def start(self) -> None:
        """Start it and wait until the model is loaded."""
        self._wait_until_loaded(self.launch())

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, and do not wait; a killed one's socket is removed, as systemd does."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        variables = dict(line.split("=", 1) for line in self._environment().splitlines())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", *self.launcher),
                    *(*command(self.paths, self.payload, variables, self.binary), *self.options),
                ],
                cwd=self.paths.root,
                env=os.environ | variables | {"LLAMA_ARG_ENDPOINT_METRICS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._process

    def _environment(self) -> str:
        if self.payload.kind == OWN_ADAPTERS:
            name_own_adapters(self.paths, self.payload.payload_id, load_workloads(self.paths))
            return (self.paths.engine_environments / self.payload.payload_id).read_text("utf-8")
        embeddings = load_outflow(self.paths).of(self.payload.payload_id).embeddings
        return environment(self.paths, self.payload, cores=2, memory=MEMORY, engines=1, embeddings=embeddings)

    def kill(self) -> None:
        """SIGKILL: the socket's file stays behind."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def stop(self) -> None:
        """SIGTERM, as systemd stops it. May be stopped already."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def client(self) -> httpx.Client:
        """A client that speaks to it directly."""
        transport = httpx.HTTPTransport(uds=str(self.socket))
        return httpx.Client(transport=transport, base_url="http://engine", timeout=600, trust_env=False)

    def metric(self, name: str) -> float:
        """One of llama-server's own metrics, without the prefix ``llamacpp:``."""
        with self.client() as client:
            text = client.get("/metrics").raise_for_status().text
        line = next(line for line in text.splitlines() if line.startswith(f"llamacpp:{name} "))
        return float(line.split()[1])

    def _wait_until_loaded(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        with self.client() as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise OperationError(f"llama-server ended at once:\n{self.log.read_text(errors='replace')[-2000:]}")
                try:
                    if client.get("/health").status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
        raise OperationError(f"llama-server was not ready after {START_TIMEOUT_S} s.")

    def __enter__(self) -> EngineProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
