"""Programs of the tools root, for tests: run inside it, or straight from it as ordinary processes of this host.

A long-running program (QEMU, swtpm) is started by the tools root's own dynamic loader without entering it: the process
then is a child with a real process id, sees the host's files, and is stopped like any other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLCHAIN = Path(__file__).resolve().parents[2] / "image" / "toolchain"


def cache_directory() -> Path:
    """Where products of long steps are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "sealwright"


@dataclass(frozen=True, slots=True)
class ToolsRoot:
    """One tools root, its path resolved once: a newer one may take the link's place while tests run."""

    path: Path

    @classmethod
    def find(cls) -> ToolsRoot:
        """The current tools root; ``make setup`` makes it."""
        path = cache_directory() / "tools-root"
        if not (path / "usr/bin").is_dir():
            raise RuntimeError(f"there is no tools root at {path}; run `make setup`")
        return cls(path.resolve())

    @property
    def libraries(self) -> Path:
        """Its shared libraries."""
        return self.path / "usr/lib/x86_64-linux-gnu"

    def argv(self, program: str, *arguments: str | Path) -> list[str]:
        """A command line that runs one of its programs on the host, and dies with the process that starts it."""
        loader = self.path / "usr/lib64/ld-linux-x86-64.so.2"
        library_path = f"{self.libraries}:{self.libraries}/swtpm:{self.libraries}/systemd"
        line = ["setpriv", "--pdeathsig", "KILL", str(loader), "--argv0", program, "--library-path", library_path]
        return [*line, str(self.path / "usr/bin" / program), *map(str, arguments)]

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment for a program started by :meth:`argv`."""
        return os.environ | {"QEMU_MODULE_DIR": str(self.libraries / "qemu")} | variables

    def run(self, program: str, *arguments: str | Path, **variables: str) -> str:
        """Run one of its programs on the host to its end and return what it printed."""
        return _run(self.argv(program, *arguments), self.environment(**variables))

    def run_inside(self, *command: str | Path, binds: Sequence[Path] = ()) -> str:
        """Run a command inside it: for scripts and for programs that start others."""
        line = [str(TOOLCHAIN / "in-tools-root"), "--root", str(self.path)]
        for bind in binds:
            line += ["--bind", str(bind)]
        return _run([*line, "--", *map(str, command)], dict(os.environ))


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed with exit status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
