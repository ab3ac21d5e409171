"""The launcher and the kernel take the compiled rules: the real engine serves under them, and what they do not grant is
refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwright_policies.domains.compiler.units import ENGINE, PAYLOADS, SOCKETS
from sealwright_testing.confined_python import PYTHON_RULES
from sealwright_testing.llama import llama_server_binary
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf

START_TIMEOUT_S = 120
ATTEMPTS = """
import json, os, socket, sys
from pathlib import Path

folder = Path(sys.argv[1])

def tcp():
    with socket.socket() as one:
        one.settimeout(5)
        try:
            one.connect(("127.0.0.1", 9))
        except ConnectionRefusedError:
            pass  # nobody listens; it was let through

def other_process():
    os.kill(os.getppid(), 0)

attempts = {
    "read its model": lambda: (folder / "payloads/medical/model.gguf").read_bytes()[:4],
    "read another model": lambda: (folder / "payloads/finance/model.gguf").read_bytes(),
    "change its model": lambda: (folder / "payloads/medical/model.gguf").open("r+b").close(),
    "truncate its model": lambda: os.truncate(folder / "payloads/medical/spare", 0),
    "write beside its model": lambda: (folder / "payloads/medical/copy").write_bytes(b"x"),
    "write beside its socket": lambda: (folder / "engine/medical/copy").write_bytes(b"x"),
    "write elsewhere": lambda: (folder / "elsewhere").write_bytes(b"x"),
    "read accounts": lambda: Path("/etc/passwd").read_bytes(),
    "execute a shell": lambda: os.posix_spawn("/bin/sh", ["sh", "-c", ":"], {}),
    "make a device": lambda: os.mkfifo(folder / "engine/medical/pipe"),
    "make a link": lambda: os.symlink("/x", folder / "engine/medical/link"),
    "connect": tcp,
    "signal another process": other_process,
}
found = {}
for name, attempt in attempts.items():
    try:
        attempt()
        found[name] = True
    except PermissionError:
        found[name] = False
print(json.dumps(found))
"""


@pytest.fixture
def box(compiled: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A folder that plays the box's places, and the rules of engine@medical for them."""
    path = tmp_path / "rules"
    path.write_text(_here((compiled / "usr/lib/sealwright/landlock/engine@medical.rules").read_text(), tmp_path))
    for name in ("medical", "finance"):
        (tmp_path / "payloads" / name).mkdir(parents=True)
        (tmp_path / "engine" / name).mkdir(parents=True)
    return tmp_path, path


def _here(rules: str, folder: Path) -> str:
    places = {PAYLOADS: folder / "payloads", SOCKETS: folder / "engine", ENGINE: llama_server_binary()}
    for place, path in places.items():
        rules = rules.replace(f" {place}", f" {path}")
    return rules


def test_the_engine_serves_under_its_rules(box: tuple[Path, Path], launcher: Path) -> None:
    folder, rules = box
    model, socket = folder / "payloads/medical/model.gguf", folder / "engine/medical/engine.sock"
    write_random_gguf(
        model, RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=2, vocabulary=500, context=256)
    )
    line: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", launcher, rules]
    line += [llama_server_binary(), "--host", socket, "--model", model, "--load-mode", "dio", "--offline", "--no-slots"]
    line += ["--threads", "1", "--ctx-size", "256"]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(list(map(str, line)), stdout=output, stderr=output) as process:
        try:
            assert _answer(socket, process, log)["tokens_predicted"] == 4
        finally:
            process.terminate()


def _answer(socket: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_TIMEOUT_S
    transport = httpx.HTTPTransport(uds=str(socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=60, trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get("/health").status_code == httpx.codes.OK:
                    reply = client.post("/completion", json={"prompt": [1, 2, 3], "n_predict": 4, "ignore_eos": True})
                    answer: dict[str, Any] = reply.raise_for_status().json()
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise AssertionError(f"llama-server did not answer:\n{log.read_text(errors='replace')[-2000:]}")


def attempts(box: tuple[Path, Path], *launch: str | Path) -> dict[str, bool]:
    folder, _ = box
    for name in ("medical/model.gguf", "medical/spare", "finance/model.gguf"):
        (folder / "payloads" / name).write_bytes(b"GGUF")
    python = [*launch, sys.executable, "-I", "-c", ATTEMPTS, folder]
    done = subprocess.run(python, capture_output=True, text=True, check=True)
    found: dict[str, bool] = json.loads(done.stdout)
    return found


def test_what_the_rules_do_not_grant_is_refused(box: tuple[Path, Path], launcher: Path) -> None:
    folder, rules = box
    with_python = folder / "rules-with-python"
    with_python.write_text(rules.read_text() + PYTHON_RULES)
    found = attempts(box, launcher, with_python)
    assert [name for name, done in found.items() if done] == ["read its model"]


def test_without_the_rules_all_of_it_is_done(box: tuple[Path, Path]) -> None:
    """The control: the attempts themselves are good."""
    assert all(attempts(box).values())
