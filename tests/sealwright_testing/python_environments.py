"""Programs in Python that we compare with or are judged by, each in an environment of its own, pinned by hashes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sealwright_policies.errors import OperationError
from sealwright_testing.tools_root import TOOLCHAIN


def python_environment(name: str) -> Path:
    """The folder of one of them (``keylime``, ``lm-eval``); made first, in some ten seconds, unless it is cached.

    Raises:
        OperationError: it could not be made.
    """
    line = [str(TOOLCHAIN / "python-environment"), f"--{name}"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise OperationError(
            f"There is no environment for {name}.",
            cure=f"Run `image/toolchain/python-environment --{name}` and see its output.",
        )
    return Path(done.stdout.strip())
