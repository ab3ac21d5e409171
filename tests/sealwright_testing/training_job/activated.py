"""The trainer as systemd starts it in the box: a process for each connection, with the socket as its standard input."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_testing.models.build import training_root
from sealwright_testing.tools_root import TOOLCHAIN
from sealwright_testing.training_job.image import PYTHON, lay_modules

MODULE = "sealwright_testing.training_job.trainer"
LOOK_EVERY_S = 0.1
STOP_TIMEOUT_S = 20.0


@dataclass
class ActivatedTrainer:
    """Starts trainers while somebody waits on the socket."""

    argv: list[str]
    listener: socket.socket
    starts: int = 0
    _running: subprocess.Popen[bytes] | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until it is closed; one after the other."""
        while not self._ended.is_set():
            if select.select([self.listener], [], [], LOOK_EVERY_S)[0]:
                self.starts += 1
                self._running = subprocess.Popen(self.argv, stdin=self.listener.fileno())
                self._running.wait()

    def kill(self) -> None:
        """SIGKILL, which takes its whole namespace of processes along."""
        if self._running is not None:
            self._running.kill()
            self._running.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Start none any more."""
        self._ended.set()
        self.kill()


@contextmanager
def activated_trainer(path: Path, model: Path, folder: Path) -> Iterator[ActivatedTrainer]:
    """A trainer of a model on its socket, until the block ends.

    Args:
        path: of the socket.
        folder: empty, for modules.
    """
    lay_modules(folder)
    line = ["setpriv", "--pdeathsig", "KILL", str(TOOLCHAIN / "in-tools-root"), "--root", str(training_root())]
    for setting in ("OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH={folder}"):
        line += ["--setenv", setting]
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        trainer = ActivatedTrainer([*line, "--bind", str(folder), "--", PYTHON, "-m", MODULE, str(model)], listener)
        thread = threading.Thread(target=trainer.run, daemon=True)
        thread.start()
        try:
            yield trainer
        finally:
            trainer.close()
            thread.join(STOP_TIMEOUT_S)
