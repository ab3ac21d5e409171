"""Runs ``sealwright-box`` in a process that is forked from one which has imported it.

Python and the imports take three quarters of a second, most of what a short command takes, and tests run it hundreds of
times. That the installed command starts is held by ``tests/unit/client`` and by every test with a virtual machine.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import sealwright_client
from sealwright_client.cli import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [__name__, *(f"sealwright_client.{one.name}" for one in pkgutil.iter_modules(sealwright_client.__path__))]
)


def run_box_command(
    arguments: Sequence[str], *, typed: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run it with this on its standard input, to its end."""
    with tempfile.TemporaryDirectory(prefix="sw-command-") as made:
        folder = Path(made)
        (folder / "stdin").write_text(typed)
        process = _CONTEXT.Process(target=_run, args=(list(arguments), dict(environment), Path.cwd(), folder))
        process.start()
        process.join()
        assert process.exitcode is not None
        said, errors = ((folder / name).read_text() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(["sealwright-box", *arguments], process.exitcode, said, errors)


def _run(arguments: list[str], environment: dict[str, str], place: Path, folder: Path) -> None:
    """In the new process."""
    for descriptor, (name, flags) in enumerate(
        {"stdin": os.O_RDONLY, "stdout": os.O_WRONLY | os.O_CREAT, "stderr": os.O_WRONLY | os.O_CREAT}.items()
    ):
        opened = os.open(folder / name, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(place)
    sys.argv = ["sealwright-box", *arguments]
    sys.exit(main())
