"""The kernel takes the Landlock rules: the real engine serves under them, and what they do not grant is refused."""

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
from sealwright_testing.llama import llama_server_binary
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf

START_TIMEOUT_S = 120
ATTEMPTS = """
import json, os, socket, sys
from pathlib import Path
from sealwright_testing.landlock import enforce

rules, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])

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
if sys.argv[3] == "confined":
    enforce(rules)
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
    rules = json.loads((compiled / "usr/lib/sealwright/landlock/engine@medical.json").read_text())
    for rule in rules["paths"]:
        rule["path"] = _here(rule["path"], tmp_path)
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(rules))
    for name in ("medical", "finance"):
        (tmp_path / "payloads" / name).mkdir(parents=True)
        (tmp_path / "engine" / name).mkdir(parents=True)
    return tmp_path, path


def _here(path: str, folder: Path) -> str:
    for place, name in ((PAYLOADS, "payloads"), (SOCKETS, "engine")):
        path = path.replace(place, str(folder / name))
    return str(llama_server_binary()) if path == ENGINE else path


def test_the_engine_serves_under_its_rules(box: tuple[Path, Path]) -> None:
    folder, rules = box
    model, socket = folder / "payloads/medical/model.gguf", folder / "engine/medical/engine.sock"
    write_random_gguf(
        model, RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=2, vocabulary=500, context=256)
    )
    line = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "sealwright_testing.landlock", rules]
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


def attempts(box: tuple[Path, Path], how: str) -> dict[str, bool]:
    folder, rules = box
    for name in ("medical/model.gguf", "medical/spare", "finance/model.gguf"):
        (folder / "payloads" / name).write_bytes(b"GGUF")
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, rules, folder, how], capture_output=True, text=True, check=True
    )
    found: dict[str, bool] = json.loads(done.stdout)
    return found


def test_what_the_rules_do_not_grant_is_refused(box: tuple[Path, Path]) -> None:
    found = attempts(box, "confined")
    assert [name for name, done in found.items() if done] == ["read its model"]


def test_without_the_rules_all_of_it_is_done(box: tuple[Path, Path]) -> None:
    """The control: the attempts themselves are good."""
    assert all(attempts(box, "free").values())
