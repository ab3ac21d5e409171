"""A log line is made of names in code and of numbers; what a library or an exception says is not in it."""

from __future__ import annotations

import subprocess
import sys

CANARY = "canary-of-a-patient"
PROGRAM = """
import logging, sys, threading, warnings, asyncio
from sealwright_appliance.log_lines import Event, Notice, Trouble, tell, write_allowed_lines_only
from sealwright_appliance.boot import BoxCode
write_allowed_lines_only()
canary = sys.argv[1]
logging.getLogger("uvicorn.error").error("said %s", canary)
logging.getLogger("uvicorn.error").info(canary)
logging.getLogger("x").error("%d", canary)
try:
    raise ValueError(canary)
except ValueError:
    logging.getLogger("asyncio").exception(canary)
warnings.warn(canary)
thread = threading.Thread(target=lambda: 1 / len(canary[99:]), name=canary)
thread.start(); thread.join()
class Odd:
    def __del__(self): raise KeyError(canary)
Odd()
tell(Notice(Event.EXTRACTION_ALARM, "medical", BoxCode.TPM, 1))
tell(Trouble(Event.FLOWS_UNREPORTED, OSError))
raise RuntimeError(canary)
"""


def test_nothing_but_names_and_numbers_is_written() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, CANARY], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert CANARY not in ran.stdout + ran.stderr
    lines = ran.stderr.splitlines()
    assert "level=ERROR from=uvicorn.error at=<string>:7" in lines
    assert "level=ERROR from=asyncio at=<string>:13 error=ValueError in=<string>:11" in lines
    for error in ("ZeroDivisionError", "KeyError", "RuntimeError"):
        assert any(line.startswith(f"level=CRITICAL error={error} in=") for line in lines)
    assert "event=extraction-alarm model=medical code=TPM level=1" in lines
    assert "event=flows-unreported error=OSError" in lines
    assert all("=" in word for line in lines for word in line.split())
