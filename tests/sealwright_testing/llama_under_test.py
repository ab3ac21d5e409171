"""A llama-server for the contract of engines (:mod:`.engine_contract`), of the CPU's build or of CUDA's."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance.engine_llama_server import LlamaServer
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.errors import OperationError
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf
from sealwright_testing.tools_root import TOOLCHAIN

GPU_OPTIONS = ("--n-gpu-layers", "999")
"""All of them; llama-server has no other layer anywhere then."""


def cuda_server_binary() -> Path:
    """The llama-server for CUDA; compiled first unless it is cached.

    Raises:
        OperationError: it could not be compiled.
    """
    line = [str(TOOLCHAIN / "llama"), "cuda"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise OperationError("There is no llama-server for CUDA.", cure=f"Run `{' '.join(line)}` and see its output.")
    return Path(done.stdout.strip())


@dataclass
class LlamaUnderTest:
    """Runs until ``with`` ends."""

    process: EngineProcess

    @classmethod
    def of(cls, shape: RandomShape, *, binary: Path | None = None, options: tuple[str, ...] = ()) -> LlamaUnderTest:
        """A box's place of its own, with a model of random weights."""
        # Not a test's folder: a socket's path must not be longer than 107 bytes.
        paths = Paths(root=Path(tempfile.mkdtemp(prefix="sw-llama-")), gateway_group=None, agent_user=None)
        model = paths.payloads / "random" / "model.gguf"
        model.parent.mkdir(parents=True)
        write_random_gguf(model, shape)
        payload = PayloadStatus(
            payload_id="random",
            kind="model",
            domain="random",
            file_name=model.name,
            context=shape.context,
            state=PayloadState.OPEN,
        )
        return cls(EngineProcess(paths, payload, options, binary=binary))

    @property
    def engine(self) -> LlamaServer:
        """The gateway's side."""
        return LlamaServer("random", self.process.socket)

    def start(self) -> None:
        """Start it and wait until the model is loaded."""
        self.process.start()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def running(self) -> int:
        """Requests that it works on."""
        return int(self.process.metric("requests_processing"))

    def __enter__(self) -> LlamaUnderTest:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        shutil.rmtree(self.process.paths.root)
