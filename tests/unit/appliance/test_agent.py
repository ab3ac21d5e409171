"""The agent as a process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from sealwright_appliance.agent import end_with_any_thread
end_with_any_thread()
thread = threading.Thread(target=lambda: [][0])
thread.start()
thread.join()
sys.exit(0)
"""


def test_a_thread_that_fails_ends_the_agent() -> None:
    """A keeper that died alone would leave the box serving for ever."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "IndexError" in done.stderr
