"""The long run of the lease machine: ``make test-leases MINUTES=10``."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from sealwright_testing.leases.machine import GreedyOwner, HonestBox, LeaseMachine, drive
from sealwright_testing.leases.scene import Scene
from sealwright_testing.swtpm import SoftwareTpm

EXAMPLES = 10
"""Between two looks at the clock."""


def main() -> None:
    """Drive both machines in turn until the time is over; a broken promise ends it, with its steps."""
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.leases")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=30, help="in one sequence")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealwright-leases-") as name:
        directory = Path(name)
        template = Scene.create(directory / "scene", SoftwareTpm.manufacture(directory / "factory"))
        LeaseMachine.template = staticmethod(lambda: template)
        began = time.monotonic()
        for machine in itertools.cycle((HonestBox, GreedyOwner)):
            if time.monotonic() - began > arguments.minutes * 60:
                break
            drive(machine, examples=EXAMPLES, steps=arguments.steps)
        spent = time.monotonic() - began
    print(
        f"{LeaseMachine.examples} sequences, {LeaseMachine.steps} steps, {LeaseMachine.steps / spent:.1f} a second, "
        f"the longest of {LeaseMachine.longest} steps: no promise was broken"
    )


if __name__ == "__main__":
    main()
