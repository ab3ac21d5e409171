"""From the texts to checked GGUF files in the cache: both models trained side by side, converted, compared, kept.

The products are made once. Nothing half-made is ever found under the final name, and two runs at the same time make
them only once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sealwright_policies.errors import OperationError
from sealwright_testing.models.checkpoint import Checkpoint
from sealwright_testing.models.conversion import write_gguf
from sealwright_testing.models.material import MODELS, load_material
from sealwright_testing.models.parity import check_parity
from sealwright_testing.models.store import INDEX, expected_directory
from sealwright_testing.tools_root import TOOLCHAIN

TRAINING_MODULE = "sealwright_testing.models.training"
LEAST_ACCURACY = {"trained": 0.95, "held_out": 0.85}
"""Share of questions answered word for word below which a model is not kept."""
SPACE_NEEDED = 200 << 20
"""Bytes: checkpoints and models together, several times over."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_models(*, again: bool = False) -> Path:
    """Make the models unless they are there.

    Args:
        again: Make them anew, even if they are there.

    Returns:
        Their folder in the cache.

    Raises:
        OperationError: no space, no training root, training failed, or a model is not good enough to be kept.
    """
    target = expected_directory()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / "lock"):
        if (target / INDEX).exists() and not again:
            say(f"models: already made, in {target}")
            return target
        if shutil.disk_usage(target.parent).free < SPACE_NEEDED:
            raise OperationError(
                f"{target.parent} has less than {SPACE_NEEDED >> 20} MiB free.",
                cure="Free some space, or set XDG_CACHE_HOME.",
            )
        for left_behind in target.parent.glob("*.partial"):
            shutil.rmtree(left_behind)
        partial = target.with_name(f"{target.name}.partial")
        try:
            _make(partial)
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("models: another run is making them; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(partial: Path) -> None:
    begun = time.monotonic()
    checkpoints = {name: partial / f"{name}.checkpoint" for name in MODELS}
    say(f"models: training {' and '.join(MODELS)} side by side (about two minutes of CPU each)")
    _train_all(training_root(), checkpoints)
    index: dict[str, Any] = {"models": {}}
    for name, folder in checkpoints.items():
        index["models"][name] = _convert(name, folder, partial)
        shutil.rmtree(folder)
    (partial / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    say(f"models: made in {time.monotonic() - begun:.0f} s")


def training_root() -> Path:
    """The Debian root that holds torch; made first (about 2 minutes) unless it is cached."""
    done = subprocess.run(
        [TOOLCHAIN / "debian-root", "training"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OperationError(
            "The training root could not be made.",
            cure="Run `image/toolchain/debian-root training` and see its output.",
        )
    return Path(done.stdout.strip())


def training_argv(root: Path, name: str, checkpoint: Path) -> list[str]:
    """The command that trains one model inside the training root, behind everything else on the machine."""
    repository = TOOLCHAIN.parents[1]
    settings = {
        "PYTHONPATH": f"{repository / 'tests'}:{repository / 'policies'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        # One thread each: teams of threads wait for each other by spinning when the machine is busy.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    line = ["setpriv", "--pdeathsig", "KILL", str(TOOLCHAIN / "in-tools-root"), "--root", str(root)]
    for key, value in settings.items():
        line += ["--setenv", f"{key}={value}"]
    return [*line, "--", "nice", "python3", "-m", TRAINING_MODULE, name, str(checkpoint)]


def _train_all(root: Path, checkpoints: Mapping[str, Path]) -> None:
    """Train side by side; when one fails, the others are stopped."""
    with contextlib.ExitStack() as running:
        processes = {}
        for name, folder in checkpoints.items():
            folder.mkdir(parents=True)
            process = subprocess.Popen(training_argv(root, name, folder), stdin=subprocess.DEVNULL)
            running.enter_context(process)
            running.callback(process.terminate)
            processes[name] = process
        for name, process in processes.items():
            if process.wait() != 0:
                raise OperationError(f"Training the {name} model failed with exit status {process.returncode}.")


def _convert(name: str, folder: Path, partial: Path) -> dict[str, Any]:
    """Turn one checkpoint into a GGUF beside it, check it, and give its entry for the index."""
    checkpoint = Checkpoint.load(folder)
    check_accuracy(checkpoint)
    model = partial / f"{name}.gguf"
    write_gguf(checkpoint, model)
    say(f"  {name}: comparing with llama.cpp")
    parity, samples = check_parity(checkpoint, load_material(name), model)
    trained, held_out = (checkpoint.accuracy[questions] for questions in ("trained", "held_out"))
    say(
        f"  {name}: answers {trained:.1%} of its questions, {held_out:.1%} in unseen words; "
        f"llama.cpp repeats {parity.same_answers} of {parity.answers} answers of torch"
    )
    content = model.read_bytes()
    return {
        "file": model.name,
        "title": checkpoint.title,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "accuracy": checkpoint.accuracy,
        "parity": asdict(parity),
        "training": checkpoint.training,
        "samples": [asdict(sample) for sample in samples],
    }


def check_accuracy(checkpoint: Checkpoint) -> None:
    """Refuse a model that learned too little.

    Raises:
        OperationError: it answers too few questions.
    """
    for questions, least in LEAST_ACCURACY.items():
        share = checkpoint.accuracy[questions]
        if share < least:
            raise OperationError(
                f"{checkpoint.name} answers only {share:.1%} of the {questions} questions, not {least:.0%}."
            )
