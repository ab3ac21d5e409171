"""Make the bundled models: train with torch in the training root, convert to GGUF, check against llama.cpp, keep.

The products stand in the cache and are made once; nothing half-made is ever found under the final name.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sealwright_policies.errors import OperationError, SealwrightError

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


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.models", description=__doc__)
    parser.add_argument("--again", action="store_true", help="make them anew, even if they are in the cache")
    arguments = parser.parse_args()
    try:
        directory = make_models(again=arguments.again)
    except SealwrightError as error:
        say(f"models: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("models: interrupted; nothing was kept")
        return 1
    print(directory)
    return 0


def make_models(*, again: bool) -> Path:
    """Make all models unless they are there; their folder in the cache."""
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
        partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
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
    root = training_root()
    index: dict[str, Any] = {"models": {}}
    for number, name in enumerate(MODELS, start=1):
        say(f"models: {number} of {len(MODELS)}: {name} (about two minutes of CPU)")
        begun = time.monotonic()
        index["models"][name] = _make_one(name, partial, root)
        say(f"models: {name} is made, {time.monotonic() - begun:.0f} s")
    (partial / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


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
    python_path = f"{repository / 'tests'}:{repository / 'policies'}"
    # Threads of an OpenMP team that wait by spinning stop each other when the machine is busy.
    settings = {"PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1", "GOMP_SPINCOUNT": "0"}
    line = ["setpriv", "--pdeathsig", "KILL", str(TOOLCHAIN / "in-tools-root"), "--root", str(root)]
    for key, value in settings.items():
        line += ["--setenv", f"{key}={value}"]
    return [*line, "--", "nice", "python3", "-m", TRAINING_MODULE, name, str(checkpoint)]


def _make_one(name: str, partial: Path, root: Path) -> dict[str, Any]:
    folder = partial / f"{name}.checkpoint"
    folder.mkdir(parents=True)
    done = subprocess.run(training_argv(root, name, folder), stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise OperationError(f"Training {name} failed with exit status {done.returncode}.")
    checkpoint = Checkpoint.load(folder)
    _check_accuracy(checkpoint)
    model = partial / f"{name}.gguf"
    write_gguf(checkpoint, model)
    say(f"  {name}: comparing with llama.cpp")
    parity, samples = check_parity(checkpoint, load_material(name), model)
    trained, held_out = (checkpoint.accuracy[questions] for questions in ("trained", "held_out"))
    say(
        f"  {name}: answers {trained:.1%} of its questions, {held_out:.1%} in unseen words; "
        f"llama.cpp repeats {parity.same_answers} of {parity.answers} answers of torch"
    )
    shutil.rmtree(folder)
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


def _check_accuracy(checkpoint: Checkpoint) -> None:
    for questions, least in LEAST_ACCURACY.items():
        share = checkpoint.accuracy[questions]
        if share < least:
            raise OperationError(
                f"{checkpoint.name} answers only {share:.1%} of the {questions} questions, not {least:.0%}."
            )


if __name__ == "__main__":
    sys.exit(main())
