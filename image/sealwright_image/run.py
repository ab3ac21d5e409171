"""Every subprocess of the image build goes through here: list argv, no shell, inside the tools root.

The tools root gives the same mkfs.erofs, veritysetup, sfdisk, ukify … on every build host. A child dies with the build,
also when the build is killed. Secrets never stand in ``argv`` or ``environment``; hand them over as ``stdin``.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sealwright_policies.errors import OperationError

TOOLCHAIN = Path(__file__).resolve().parents[1] / "toolchain"
"""Of a source checkout; images are built from one, as image/mkosi/ is needed too."""
_REPORTED_LINES = 15


@dataclass(frozen=True, slots=True)
class Tools:
    """Runs commands in the tools root."""

    wrapper: Path = TOOLCHAIN / "in-tools-root"

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        binds: Sequence[Path] = (),
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        log: Path | None = None,
    ) -> bytes:
        """Run one command and return its standard output.

        Args:
            argv: The command; paths must lie in the repository, the cache, /tmp, /var/tmp or a bind.
            binds: Further directories, visible at the same path, writable.
            cwd: Working directory, visible like the paths.
            environment: Variables beside the clean environment of the tools root; no secrets.
            stdin: Bytes for standard input; nothing by default.
            log: If given, standard output and error are appended to this file, and the result is empty.

        Raises:
            OperationError: the command failed; carries the end of its output.
        """
        command = tools_argv(self.wrapper, argv, binds=binds, environment=environment or {})
        if log is None:
            return _run(command, argv[0], cwd=cwd, stdin=stdin, output=None)
        with log.open("ab") as stream:
            return _run(command, argv[0], cwd=cwd, stdin=stdin, output=stream)


def toolchain(script: str, *arguments: str) -> str:
    """Run one of the scripts of image/toolchain on the build host; its standard output, stripped."""
    command = ["setpriv", "--pdeathsig", "KILL", str(TOOLCHAIN / script), *arguments]
    return _run(command, f"image/toolchain/{script}", cwd=None, stdin=None, output=None).decode("utf-8").strip()


def tools_argv(
    wrapper: Path, argv: Sequence[str | Path], *, binds: Sequence[Path], environment: Mapping[str, str]
) -> list[str]:
    """The whole command line: die with the parent, enter the tools root, run."""
    line = ["setpriv", "--pdeathsig", "KILL", str(wrapper)]
    for bind in binds:
        line += ["--bind", str(bind)]
    for name, value in environment.items():
        line += ["--setenv", f"{name}={value}"]
    return [*line, "--", *map(str, argv)]


def _run(
    command: list[str], name: str | Path, *, cwd: Path | None, stdin: bytes | None, output: IO[bytes] | None
) -> bytes:
    if shutil.which(command[0]) is None:
        raise OperationError(f"{command[0]} is not installed.", cure="Install util-linux.")
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            input=b"" if stdin is None else stdin,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT if output else subprocess.PIPE,
        )
    except OSError as error:
        raise OperationError(f"{command[3]} cannot be run: {error.strerror}.", cure="Run `make setup`.") from error
    if done.returncode == 0:
        return done.stdout or b""
    said = Path(output.name).read_bytes() if output else done.stderr or done.stdout
    tail = "\n".join(said.decode("utf-8", "replace").splitlines()[-_REPORTED_LINES:])
    raise OperationError(f"{name} failed with exit status {done.returncode}:\n{tail}")
