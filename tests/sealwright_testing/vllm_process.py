"""A vLLM as a box would start it: one model, one UNIX socket, nothing fetched, nothing logged of requests.

The program is ``vllm`` of the search path. Where there is no GPU, a vLLM that was built for CPUs does the same, slowly.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from sealwright_appliance.engine_commands import vllm_command, vllm_environment
from sealwright_appliance.engine_vllm import Vllm
from sealwright_policies.errors import OperationError

START_TIMEOUT_S = 600.0


@dataclass
class VllmProcess:
    """Runs until ``with`` ends."""

    model: Path
    context: int
    log: Path
    options: tuple[str, ...] = ()
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sw-vllm-")))
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def engine(self) -> Vllm:
        """The gateway's side."""
        return Vllm("random", self.socket)

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "engine.sock"

    def start(self) -> None:
        """Start it and wait until the model is loaded."""
        program = shutil.which("vllm")
        if program is None:
            raise OperationError("There is no vLLM.", cure="Install vllm, and have its folder in PATH.")
        line = vllm_command("random", self.model, self.socket, context=self.context, memory_share=0.3)
        self.socket.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *line[1:], *self.options],
                env=os.environ | vllm_environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_loaded(self._process)

    def kill(self) -> None:
        """SIGKILL, to its workers too, as systemd does to a unit."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def running(self) -> int:
        """Requests that it works on."""
        with self._client() as client:
            text = client.get("/metrics").raise_for_status().text
        lines = [line for line in text.splitlines() if line.startswith("vllm:num_requests_running{")]
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        return httpx.Client(transport=transport, base_url="http://engine", timeout=120, trust_env=False)

    def _wait_until_loaded(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        with self._client() as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise OperationError(f"vLLM ended at once:\n{self.log.read_text(errors='replace')[-4000:]}")
                try:
                    if client.get("/health").status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.25)
        raise OperationError(f"vLLM was not ready after {START_TIMEOUT_S} s.")

    def __enter__(self) -> VllmProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
