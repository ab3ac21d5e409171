"""Code that has got into a place of the box and tries to get further. Runs in a test image.

    python3 -I /usr/lib/planted LABEL OWN OTHER [PROFILE]

OWN and OTHER are payload ids: the engine that it runs as, and one that serves. No interpreter starts in an engine's
AppArmor profile, so the intruder goes into PROFILE once it runs, as code does that gets into a process that is there.
For each attempt it prints ``probe LABEL NAME denied REASON`` or ``probe LABEL NAME ALLOWED DETAIL``, and ``made OWN
PATH`` for each file that it leaves. Only an error of the operating system or of the TPM counts as denied; anything else
ends the attempt, and its line is missing. Run by root outside of any sandbox (LABEL "root") it shows that what it looks
for is there and that the attempts are good ones; what is refused to that root too succeeds in a boot without the
kernel's defences (LABEL "disarmed"). With LABEL "spoilt" it extends PCRs for the rest of the boot, and makes no other
attempts than those that hang on them.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from intruder import code, engines, kernel, keys, neighbours, network
from intruder.calls import places

SPOILT = "spoilt"


def attempts(own: str, other: str) -> dict[str, Callable[[], str]]:
    """All but those on the network."""
    return {
        **neighbours.attempts(own, other),
        **kernel.attempts(own),
        **code.attempts(own),
        **keys.attempts(other),
        **engines.attempts(other),
    }


def outcome(attempt: Callable[[], str]) -> str:
    try:
        return f"ALLOWED {attempt()}"
    except OSError as error:
        return f"denied {errno.errorcode.get(error.errno or 0, error)} {error.strerror}"


def try_out(line: str, attempt: Callable[[], str]) -> int:
    """In a process of its own: some attempts change the process that makes them. Its number."""
    child = os.fork()
    if child == 0:
        print(f"{line} {outcome(attempt)}", flush=True)
        os._exit(0)
    return child


def confine(profile: str) -> None:
    """Go into an AppArmor profile; there is no way back."""
    Path("/proc/self/attr/apparmor/current").write_text(f"changeprofile {profile}")


def main() -> None:
    if not Path("/usr/lib/sealwright/bin/llama-server").exists():
        sys.exit("This writes to disks and keys of the machine: it is for a box in a test.")
    label, own, other, *profiles = sys.argv[1:]
    for profile in profiles:
        confine(profile)
    if label == SPOILT:
        for name, attempt in keys.spoiling(other).items():
            os.waitpid(try_out(f"probe {label} {name}", attempt), 0)
        return
    # Some of these wait, and so they do it together.
    waiting = [try_out(f"probe {label} {name}", attempt) for name, attempt in network.attempts().items()]
    for child in waiting:
        os.waitpid(child, 0)
    for name, attempt in attempts(own, other).items():
        os.waitpid(try_out(f"probe {label} {name}", attempt), 0)
    for place in places(own):
        with suppress(OSError):
            (place / neighbours.MARK).touch()
            print(f"made {own} {place / neighbours.MARK}", flush=True)
    print(f"probe {label} end", flush=True)


if __name__ == "__main__":
    main()
