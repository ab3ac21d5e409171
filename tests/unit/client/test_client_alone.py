"""The customer's command in an environment with nothing but what its two distributions ask for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sealwright_testing.tools_root import cache_directory

ROOT = Path(__file__).resolve().parents[3]
BACK_END = cache_directory() / "bootstrap" / "bin" / "python"
"""pip and setuptools, as the toolchain has them."""
SOURCES = ("policies", "appliance/client")
IMPORTS = """
import importlib, json, pkgutil, sys
import sealwright_client, sealwright_policies
names = [one.name for part in (sealwright_client, sealwright_policies)
         for one in pkgutil.walk_packages(part.__path__, part.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps({"imported": names, "there": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked_for(name: str) -> Iterable[str]:
    """Other distributions that one needs here, without extras."""
    wanted = [Requirement(line) for line in distribution(name).requires or []]
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def needed(names: Iterable[str]) -> dict[str, Distribution]:
    """Distributions, with all that they need in turn."""
    found: dict[str, Distribution] = {}
    waiting = [name for name in names if not name.startswith("sealwright")]
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key not in found:
            found[key] = distribution(name)
            waiting += asked_for(name)
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both distributions installed from the sources; what they ask for comes from this test's own environment."""
    folder = tmp_path_factory.mktemp("alone")
    for source in SOURCES:
        shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip, wheels = (BACK_END, "-m", "pip", "--disable-pip-version-check"), folder / "wheels"
    offline = ("--no-index", "--no-deps")
    sources = [folder / source for source in SOURCES]
    run(*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, *sources)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    run(*pip, "--python", folder / "venv/bin/python", "install", *offline, *wheels.iterdir())
    (packages,) = (folder / "venv/lib").glob("python3.*/site-packages")
    asked = {name for own in ("sealwright-policies", "sealwright-client") for name in asked_for(own)}
    for one in needed(asked).values():
        for top in {file.parts[0] for file in one.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(one.locate_file(top))))
    return folder / "venv/bin"


def test_every_module_is_there_and_nothing_of_the_box_is(environment: Path) -> None:
    told = json.loads(run(environment / "python", "-I", "-c", IMPORTS))
    assert "sealwright_client.cli_verify" in told["imported"]
    own = {name for name in told["there"] if name.startswith("sealwright")}
    assert own == {"sealwright_client", "sealwright_policies"}


def test_the_command_runs(environment: Path, tmp_path: Path) -> None:
    box = environment / "sealwright-box"
    assert "verify" in run(box, "--help")
    assert "--manifest-key" in run(box, "verify", "--help")
    (tmp_path / "key").write_text("")
    files = ("--service", tmp_path / "none", "--manifest-key", tmp_path / "key", "--device", "x")
    refused = subprocess.run(
        [box, "verify", "https://box.invalid:8443", *files], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "cannot be read" in refused.stderr
