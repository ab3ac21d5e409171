"""Why this boot is not the one that is expected, in the words of the appraisal. Pure; explains, decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sealwright_appliance.boot import Obstacle
from sealwright_policies.appraisal.appraise import judge_boot
from sealwright_policies.appraisal.reference_values import Measurements
from sealwright_policies.errors import FormatError, UnsupportedError
from sealwright_policies.tcg.eventlog import parse_event_log
from sealwright_policies.tcg.userspacelog import UserspaceLog


def explain(obstacles: Sequence[Obstacle], firmware_log: bytes, measurements: Measurements) -> tuple[Obstacle, ...]:
    """Replace what is said of a PCR by what the log says was measured into it.

    Args:
        obstacles: as :mod:`.boot` found them; those that are about no PCR stay as they are.
        firmware_log: the firmware's event log; nothing vouches for it here.
        measurements: of the running release.
    """
    try:
        log = parse_event_log(firmware_log)
    except (FormatError, UnsupportedError):
        return tuple(obstacles)
    # At the unseal point systemd's log is not complete yet, so only the firmware's is judged.
    found = judge_boot(log, UserspaceLog((), truncated=False), measurements).mismatches
    sentences = {
        mismatch.pcr: Obstacle(mismatch.code, mismatch.where() + mismatch.sentence, mismatch.pcr)
        for mismatch in reversed(found)
        if mismatch.log != "userspace" and mismatch.pcr is not None
    }
    return tuple(
        sentences.get(obstacle.pcr, obstacle) if obstacle.pcr is not None else obstacle for obstacle in obstacles
    )
