"""llama-cpp-python's own server as something to compare with, in an environment of its own, its log in a file."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from sealwright_policies.errors import OperationError
from sealwright_testing.ports import free_port
from sealwright_testing.python_environments import python_environment
from sealwright_testing.stream_client import Side

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.1


@contextmanager
def llama_cpp_server(model: Path) -> Iterator[Side]:
    """Serve a model file until the block ends, by as many threads as there are processors.

    By default a new request ends the one before it; here it waits, as every client wants its whole reply.

    Raises:
        OperationError: it could not be installed, or did not start.
    """
    port, threads = free_port(), str(os.cpu_count())
    python = python_environment("llama-cpp-server") / "bin/python"
    options = {"model": model, "model_alias": model.stem, "host": "127.0.0.1", "port": port, "n_threads": threads}
    options |= {"n_threads_batch": threads, "interrupt_requests": False, "verbose": False}
    argv = [str(python), "-m", "llama_cpp.server", *(str(word) for pair in options.items() for word in _option(*pair))]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            if not _is_ready(process, port):
                log.seek(0)
                raise OperationError(f"llama_cpp.server did not start:\n{log.read().decode(errors='replace')[-2000:]}")
            yield Side(port, model.stem)
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def _option(name: str, value: object) -> tuple[str, object]:
    return f"--{name}", value


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(_POLL_S)
        else:
            return True
    return False
