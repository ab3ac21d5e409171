"""Attempts to run code that is not of the verified root."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from intruder.calls import RUN, places, refused

PROGRAM = "/usr/bin/python3"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libz.so.1"
NOT_MAPPED = "failed to map segment from shared object"
"""Of the dynamic loader (glibc), which tells no number of an error."""


def in_one_of(folders: tuple[Path, ...], attempt: Callable[[Path], str]) -> str:
    """What succeeds in any of them; else the first refusal."""
    refusals = []
    for folder in folders:
        try:
            return attempt(folder)
        except OSError as error:
            refusals.append(error)
    raise refusals[0]


def ran(*argv: str | Path, pass_fds: tuple[int, ...] = ()) -> None:
    """A program that starts and fails has started all the same; but none of these fails."""
    subprocess.run(argv, pass_fds=pass_fds, check=True, capture_output=True)


def own_code(folder: Path) -> str:
    """A program that was not in the verified root, as if it were downloaded."""
    copy = Path(shutil.copy(PROGRAM, folder / "planted-program"))
    copy.chmod(0o755)
    ran(copy, "--version")
    return str(copy)


def script(folder: Path) -> Path:
    file = folder / "planted-script"
    file.write_text(f"#!{PROGRAM} -I\n")
    file.chmod(0o755)
    return file


def own_script(folder: Path) -> str:
    """A script by its first line."""
    file = script(folder)
    ran(file)
    return str(file)


def interpreted(folder: Path) -> str:
    """The same script, given to an interpreter of the verified root."""
    file = script(folder)
    ran(PROGRAM, "-I", file)
    return str(file)


def memory_program() -> str:
    """Run a program that is in no file system."""
    descriptor = os.memfd_create("planted")
    os.write(descriptor, Path(PROGRAM).read_bytes())
    ran(f"/proc/self/fd/{descriptor}", "--version", pass_fds=(descriptor,))
    return "a program from memory"


def interpreter() -> str:
    ran(PROGRAM, "-I", "-c", "")
    return PROGRAM


def own_library(folder: Path) -> str:
    """Load code into a process that is there."""
    copy = shutil.copy(LIBRARY, folder / "planted-library")
    try:
        return str(ctypes.CDLL(str(copy)))
    except OSError as error:
        if NOT_MAPPED in str(error):
            raise refused(str(error)) from None
        raise


def writable_code() -> str:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    return "memory that can be written and run"


def attempts(own: str) -> dict[str, Callable[[], str]]:
    written = places(own)
    loaded = tuple(folder for folder in (RUN / "engine" / own, *written) if folder.is_dir())
    return {
        "own-code": lambda: in_one_of(written, own_code),
        "own-script": lambda: in_one_of(written, own_script),
        "interpreted-script": lambda: in_one_of(written, interpreted),
        "memory-program": memory_program,
        "interpreter": interpreter,
        "own-library": lambda: in_one_of(loaded, own_library),
        "writable-code": writable_code,
    }
