"""What processes cost, as Linux counts it in ``/proc`` (proc(5)): processor time and resident memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _TIMES, _RESIDENT = 1, slice(11, 15), 21
"""Fields of ``stat`` behind the name: ppid; utime, stime, cutime, cstime; rss."""


@dataclass(frozen=True, slots=True)
class ProcessCosts:
    """Of a process, its children and theirs; those that have ended count too, if somebody has waited for them."""

    cpu_s: float
    resident: int
    """Bytes; what several processes share is counted in each."""


def process_costs(process: int) -> ProcessCosts:
    """What a process and those below it have cost until now."""
    stats = {int(path.name): _fields(path) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    wanted, counted = [process], set[int]()
    while wanted:
        counted.add(one := wanted.pop())
        wanted += [child for child, fields in stats.items() if fields and int(fields[_PARENT]) == one]
    found = [stats[one] for one in counted if stats.get(one)]
    return ProcessCosts(
        cpu_s=sum(int(ticks) for fields in found for ticks in fields[_TIMES]) * _TICK_S,
        resident=sum(int(fields[_RESIDENT]) for fields in found) * _PAGE,
    )


def _fields(path: Path) -> list[str]:
    try:
        # The name stands in parentheses and may hold anything.
        return (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return []
