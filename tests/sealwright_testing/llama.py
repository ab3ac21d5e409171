"""A real llama-server for tests and checks: where the binary is, and a running one on a UNIX socket."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from sealwright_policies.errors import OperationError
from sealwright_testing.tools_root import TOOLCHAIN

START_TIMEOUT_S = 240
REQUEST_TIMEOUT_S = 120
SERVER_TESTS = "/vendor/llama.cpp/tools/server/tests/"
"""In the source distribution."""


@cache
def llama_server_binary() -> Path:
    """The llama-server of the image; compiled first (about 8 CPU-minutes, progress on stderr) unless it is cached.

    Raises:
        OperationError: it could not be compiled.
    """
    done = subprocess.run(
        [TOOLCHAIN / "llama", "server"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise OperationError("There is no llama-server.", cure="Run `image/toolchain/llama server` and see its output.")
    return Path(done.stdout.strip())


def unpack_server_tests(folder: Path) -> None:
    """llama.cpp's own tests of its server, out of the sources that llama-server is compiled from, into a folder.

    Raises:
        OperationError: the sources could not be fetched.
    """
    line = [str(TOOLCHAIN / "llama"), "sources"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise OperationError("There are no sources of llama.cpp.", cure=f"Run `{' '.join(line)}` and see its output.")
    with tarfile.open(done.stdout.strip()) as archive:
        for member in archive:
            _, found, inside = member.name.partition(SERVER_TESTS)
            content = archive.extractfile(member) if found else None
            if content is not None:
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


@dataclass(frozen=True, slots=True)
class RunningLlama:
    """A client of one llama-server; ``http`` speaks to it directly."""

    http: httpx.Client

    def post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """One JSON request; an HTTP error raises with the server's words."""
        reply = self.http.post(path, json=request)
        if reply.is_error:
            raise OperationError(f"llama-server answered {reply.status_code}: {reply.text}")
        body: dict[str, Any] = reply.json()
        return body

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, special tokens not recognised."""
        request = {"content": text, "add_special": False, "parse_special": False}
        ids: list[int] = self.post("/tokenize", request)["tokens"]
        return ids

    def complete(self, prompt: Sequence[int], *, limit: int) -> list[int]:
        """Token ids that follow a prompt greedily; the end token is left out."""
        request = {
            "prompt": list(prompt),
            "n_predict": limit,
            "temperature": 0,
            "return_tokens": True,
            "cache_prompt": False,
        }
        reply = self.post("/completion", request)
        ids: list[int] = reply["tokens"]
        return ids[:-1] if reply["stop_type"] == "eos" else ids

    def chat(self, messages: Sequence[dict[str, str]]) -> str:
        """The greedy answer to a conversation, through the model's own chat template."""
        reply = self.post("/v1/chat/completions", {"messages": list(messages), "temperature": 0})
        answer: str = reply["choices"][0]["message"]["content"]
        return answer

    def ask(self, question: str) -> str:
        """The greedy answer to one question."""
        return self.chat([{"role": "user", "content": question}])


@contextmanager
def running_llama(model: Path, *options: str) -> Iterator[RunningLlama]:
    """Start llama-server with a model, wait until it has loaded, and stop it afterwards.

    One thread: more collapse when another process is busy.
    """
    with tempfile.TemporaryDirectory(prefix="sealwright-llama-") as folder:
        socket, log = Path(folder) / "llama.sock", Path(folder) / "log"
        line = [str(llama_server_binary()), "--model", str(model), "--host", str(socket), "--threads", "1"]
        line += ["--parallel", "1", "--ctx-size", "1024", "--no-warmup", *options]
        with (
            log.open("wb") as output,
            subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *line],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                transport = httpx.HTTPTransport(uds=str(socket))
                with httpx.Client(
                    transport=transport, base_url="http://llama", timeout=REQUEST_TIMEOUT_S, trust_env=False
                ) as client:
                    _wait_until_loaded(client, process, log)
                    yield RunningLlama(client)
            finally:
                process.terminate()


def _wait_until_loaded(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OperationError(f"llama-server ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            if client.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise OperationError(f"llama-server was not ready after {START_TIMEOUT_S} s.")
