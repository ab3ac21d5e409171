"""The workload's image: Debian's own Python and torch, of them the files that the job uses, and the job.

No binary is changed or made here. Modules are compiled once more, since a module whose time stamp is another than that
in its compiled file would be compiled at every start, and a box mounts images read-only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import gguf

from sealwright_testing.models.build import training_root
from sealwright_testing.tools_root import TOOLCHAIN

PYTHON = "/usr/bin/python3"
MODULES = "usr/lib/python3/dist-packages"
TESTING = Path(__file__).resolve().parents[1]
OURS = ("models/bpe.py", "models/checkpoint.py", "models/conversion.py", "models/network.py", "training_job/job.py",
        "training_job/trainer.py")  # fmt: skip
PACKAGES = ("", "models", "training_job")
"""Empty here: those of the tests import what a box has not."""
TOP = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}
SOUGHT = ("usr/lib/python3/dist-packages/torch/bin/torch_shm_manager",)
"""What torch looks for at its start, and does not use here."""
PROGRAM = """\
#!/usr/bin/python3 -I
import os
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

from sealwright_testing.training_job.job import run

run(
    Path("/run/sealwright/payloads/{model}/model.gguf"),
    Path("/run/sealwright/payloads/{data_set}/cases.jsonl"),
    Path("/var/lib/sealwright/results/{domain}"),
    adapter="{adapter}",
    workload="{workload}",
)
"""


def write_image(folder: Path, model: Path, cases: Path, names: dict[str, str]) -> None:
    """Write the image into an empty folder; takes a run of the job, on this host.

    Args:
        folder: of the image.
        model: a GGUF file, for the run.
        cases: a data set, likewise.
        names: ``model``, ``data_set``, ``domain``, ``adapter`` and ``workload``, as the product calls them.
    """
    root = training_root()
    modules = folder / MODULES
    lay_modules(modules)
    with tempfile.TemporaryDirectory() as results:
        trace = TESTING / "training_job/trace.py"
        words = [str(trace), str(model), str(cases), results, names["adapter"], names["workload"]]
        used = json.loads(_inside(root, folder, [PYTHON, *words], PYTHONPATH=str(modules)).splitlines()[-1])
    for name in (*used["files"], *SOUGHT):
        _copy(root, folder, name)
    for name, target in used["links"].items():
        _link(folder, name, target)
    _copy(root, folder, str((root / PYTHON[1:]).resolve().relative_to(root.resolve()).as_posix()))
    _link(folder, PYTHON, f"/usr/bin/{(root / PYTHON[1:]).readlink().name}")
    (folder / "usr/lib/python3.13/lib-dynload").mkdir(parents=True, exist_ok=True)
    for name, target in TOP.items():
        (folder / name).symlink_to(target)
    compiling = [PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder / "usr/lib")]
    _inside(root, folder, compiling)
    program = folder / "program"
    program.write_text(PROGRAM.format(**names))
    program.chmod(0o755)


def lay_modules(modules: Path) -> None:
    """Put what job and trainer import, besides Debian's, into a folder."""
    shutil.copytree(Path(gguf.__file__).parent, modules / "gguf", ignore=shutil.ignore_patterns("__pycache__"))
    for package in PACKAGES:
        place = modules / "sealwright_testing" / package
        place.mkdir(parents=True)
        (place / "__init__.py").touch()
    for name in OURS:
        shutil.copy(TESTING / name, modules / "sealwright_testing" / name)


def _copy(root: Path, folder: Path, name: str) -> None:
    source, target = root / name.lstrip("/"), folder / name.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _link(folder: Path, name: str, target: str) -> None:
    link = folder / name.lstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target)


def _inside(root: Path, folder: Path, command: list[str], **variables: str) -> str:
    settings = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | variables
    line = [str(TOOLCHAIN / "in-tools-root"), "--root", str(root), "--bind", str(folder)]
    for key, value in settings.items():
        line += ["--setenv", f"{key}={value}"]
    done = subprocess.run([*line, "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()
