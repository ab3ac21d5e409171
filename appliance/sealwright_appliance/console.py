"""What the box says to whoever stands before it: stable lines on its terminals, which tests match too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sealwright_appliance.boot import BoxState
from sealwright_appliance.status import BootResult, BoxStatus, PayloadState, ReleaseStatus

PREFIX = "sealwright: "


def release_line(release: ReleaseStatus) -> str:
    """Which software runs."""
    return f"release {release.product} {release.version} {release.release_id[:16]}"


OPEN_STATES = frozenset({PayloadState.OPEN, PayloadState.LOADING, PayloadState.SERVING})


def state_line(status: BootResult | BoxStatus) -> str:
    """What the box does, and why not more."""
    match status.state:
        case BoxState.UNLOCKED | BoxState.SERVING:
            payloads = [payload.payload_id for payload in status.payloads if payload.state in OPEN_STATES]
            return f"state {status.state}: {' '.join(payloads)}"
        case BoxState.LOCKED | BoxState.ENDED:
            return f"state {status.state}: {status.code}: {status.sentence}"
        case BoxState.ACTIVATED:
            return f"state activated: {status.sentence}"
        case _:
            return f"state {status.state}"


class Console:
    """The terminals that there are; a terminal that is missing or hung up is passed over."""

    def __init__(self, terminals: Sequence[Path]) -> None:
        self._terminals = terminals

    def say(self, line: str) -> None:
        """Write one line everywhere; to standard error, and so to the journal, if no terminal takes it."""
        text = PREFIX + " ".join(line.split())
        taken = 0
        for terminal in self._terminals:
            try:
                with terminal.open("ab", buffering=0) as file:
                    file.write(f"{text}\r\n".encode())
            except OSError:
                continue
            taken += 1
        if not taken:
            print(text, file=sys.stderr, flush=True)
