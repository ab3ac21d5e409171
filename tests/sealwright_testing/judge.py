"""A program of others that judges ours: it runs beside the test, asks nothing, and all that it says is kept."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_judge(
    argv: Sequence[str | Path], folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; both its outputs are in ``stdout``.

    Args:
        argv: its command line.
        folder: where it runs.
        variables: all of its environment.
    """
    return subprocess.run(
        argv,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
