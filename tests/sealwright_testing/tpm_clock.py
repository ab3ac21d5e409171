"""Moves a software TPM's clock forward while its machine is off: a lease runs out without anybody waiting for it."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwright_testing.tools_root import ToolsRoot

_START_TIMEOUT_S = 20.0


def advance_tpm_clock(state_directory: Path, milliseconds: int, *, tools: ToolsRoot | None = None) -> int:
    """Move Clock forward and return its new value in milliseconds. The TPM's reset count grows by one.

    TPM2_ClockSet (TPM 2.0 Part 3, 29.2) is what the owner may do. It refuses to set Clock back, and Clock runs while
    this works, so ``milliseconds`` should be a second at least.
    """
    tools = tools or ToolsRoot.find()
    with _switched_on(state_directory, tools) as tcti:
        target = _read_clock(tools, tcti) + milliseconds
        tools.run("tpm2_setclock", str(target), TPM2TOOLS_TCTI=tcti)
        tools.run("tpm2_shutdown", "--clear", TPM2TOOLS_TCTI=tcti)
    return target


def _read_clock(tools: ToolsRoot, tcti: str) -> int:
    printed = tools.run("tpm2_readclock", TPM2TOOLS_TCTI=tcti)
    found = re.search(r"^\s*clock:\s*(\d+)", printed, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"tpm2_readclock printed no clock:\n{printed}")
    return int(found[1])


@contextmanager
def _switched_on(state_directory: Path, tools: ToolsRoot) -> Iterator[str]:
    """Run swtpm alone on the state directory; gives the TCTI to reach it by."""
    with tempfile.TemporaryDirectory(prefix="sw-tpm-") as folder:
        path = Path(folder) / "tpm"
        command = tools.argv("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state_directory}")
        command += ["--server", f"type=unixio,path={path}", "--ctrl", f"type=unixio,path={path}.ctrl"]
        command += ["--flags", "not-need-init,startup-clear"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _START_TIMEOUT_S
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    said = process.stdout.read().decode("utf-8", "replace") if process.poll() and process.stdout else ""
                    raise RuntimeError(f"swtpm did not start on {state_directory}: {said}")
                time.sleep(0.01)
            yield f"swtpm:path={path}"
        finally:
            process.terminate()
            process.communicate()
