"""Files that the build takes and that end the real llama-server as it loads them, under the engine's own rules: it dies
where it is, and nothing else happens.

Rules and launcher are the box's. What systemd adds there (no dumps at all, system-call filter, name spaces) is left
out, so that the rules alone are tried. How an engine that dies is given up: serve/test_model_memory.py.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwright_appliance.paths import Paths
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_image.gguf import read_gguf
from sealwright_policies.domains.compiler import compile_units
from sealwright_policies.domains.compiler.units import ENGINE
from sealwright_testing.domain_texts import domain_text, verified
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.llama import llama_server_binary
from sealwright_testing.models.hostile_gguf import CANARY, HOSTILE, TINY
from sealwright_testing.models.random_gguf import write_random_gguf

pytestmark = pytest.mark.redteam

MEMBER = '\n[[member]]\nkind = "model"\nid = "{name}"\n'
RUN = "\n[run]\nengine = true\n"
ENDS_WITHIN_S = 60
FILES = {path: content.decode() for path, content in compile_units(
    verified([domain_text("models", more=RUN + "".join(MEMBER.format(name=one) for one in ("hostile", "good")))])
).items()}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A box's places, in which two models lie."""

    paths: Paths
    launcher: Path

    def engine(self, name: str, *, confined: bool = True) -> EngineProcess:
        payload = PayloadStatus(
            payload_id=name, kind="model", domain="models", file_name="model.gguf", state=PayloadState.OPEN
        )
        sandbox = (str(self.launcher), str(self._rules(name))) if confined else ()
        return EngineProcess(self.paths, payload, launcher=("prlimit", "--core=unlimited", *sandbox))

    def _rules(self, name: str) -> Path:
        text = FILES[f"/usr/lib/sealwright/landlock/engine@{name}.rules"]
        path = self.paths.root / f"{name}.rules"
        path.write_text(
            text.replace(" /run/sealwright/", f" {self.paths.run}/").replace(f" {ENGINE}", f" {llama_server_binary()}")
        )
        return path

    def model(self, name: str) -> Path:
        return self.paths.payloads / name / "model.gguf"

    def files(self) -> dict[str, str]:
        """Whatever lies in the box's places, but for logs and sockets."""
        return {
            str(path.relative_to(self.paths.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.paths.root.rglob("*")
            if path.is_file() and path.suffix not in {".log", ".rules"}
        }


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, launcher: Path) -> Place:
    """Under a name that leaves room for that of a socket."""
    made = Place(Paths(root=tmp_path_factory.mktemp("h"), gateway_group=None, agent_user=None), launcher)
    for name in ("hostile", "good"):
        made.model(name).parent.mkdir(parents=True)
    write_random_gguf(made.model("good"), TINY)
    return made


@pytest.fixture
def good(place: Place) -> Iterator[EngineProcess]:
    """Another model's engine, which serves."""
    with place.engine("good") as engine:
        yield engine


def ended(engine: EngineProcess) -> tuple[int, str]:
    """How an engine ends by itself, and what it says."""
    process: subprocess.Popen[bytes] = engine.launch()
    try:
        return process.wait(ENDS_WITHIN_S), engine.log.read_text(errors="replace")
    finally:
        engine.kill()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_its_engine_and_touches_nothing(name: str, place: Place, good: EngineProcess) -> None:
    """No dump of what was in memory, no program started (llama-server has gdb say where it failed), nothing written;
    what it says quotes nothing of the file, and another model's engine goes on."""
    hostile = HOSTILE[name]
    hostile.write(place.model("hostile"))
    assert CANARY in place.model("hostile").read_bytes().decode(errors="replace")
    assert read_gguf(place.model("hostile")).tensor_count
    before = place.files()
    code, said = ended(place.engine("hostile"))
    assert code == hostile.ends, said
    assert CANARY not in said
    assert "Inferior" not in said
    assert place.files() == before
    with good.client() as client:
        asked = {"prompt": [1, 2, 3], "n_predict": 2, "ignore_eos": True}
        assert client.post("/completion", json=asked).raise_for_status().json()["tokens_predicted"] == 2


def test_without_the_sandbox_it_leaves_a_dump_of_its_memory(place: Place) -> None:
    """The control: the file is what it is said to be, and its place could be written to."""
    HOSTILE["template-too-deep"].write(place.model("hostile"))
    before = place.files()
    code, _ = ended(place.engine("hostile", confined=False))
    assert code == HOSTILE["template-too-deep"].ends
    assert len(place.files()) == len(before) + 1
