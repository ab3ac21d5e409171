"""Runs programs: the only place of this package that does. Argument lists are built elsewhere, purely."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sealwright_policies.errors import OperationError

TIMEOUT_S = 120.0
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class ToolError(OperationError):
    """A program failed. ``status`` is its exit status."""

    def __init__(self, program: str, status: int, said: str) -> None:
        super().__init__(f"{program} failed with status {status}: {said or 'it said nothing'}.")
        self.status = status


def run(argv: Sequence[str], *, secrets: Sequence[bytes] = (), timeout_s: float = TIMEOUT_S) -> str:
    """Run a program without a shell and return what it wrote to standard output.

    Args:
        argv: the program and its arguments. ``{secret0}``, ``{secret1}``… as a whole argument stand for paths from
            which the program reads ``secrets``, so that none of them is in argv, environment or on a disk.
        secrets: up to 4 KiB each.
        timeout_s: seconds after which it is killed.

    Raises:
        ToolError: it ended with another status than 0.
        OperationError: it is missing or took too long.
    """
    with ExitStack() as stack:
        descriptors = [stack.enter_context(_readable(secret)) for secret in secrets]
        paths = {f"{{secret{number}}}": f"/dev/fd/{fd}" for number, fd in enumerate(descriptors)}
        try:
            done = subprocess.run(
                [paths.get(argument, argument) for argument in argv],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                pass_fds=descriptors,
                env=ENVIRONMENT,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise OperationError(f"The program {argv[0]} is missing.") from None
        except subprocess.TimeoutExpired:
            raise OperationError(f"{argv[0]} did not end within {timeout_s:.0f} s.") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise ToolError(argv[0], done.returncode, lines[-1].rstrip(".") if lines else "")
    return done.stdout


@contextmanager
def _readable(secret: bytes) -> Iterator[int]:
    """The reading end of a pipe that holds a secret; a pipe takes this much without a reader."""
    reading, writing = os.pipe()
    try:
        os.write(writing, secret)
        os.close(writing)
        yield reading
    finally:
        os.close(reading)
