"""Where in a TOML text a key stands, so that an error about a value can name its line.

``tomllib`` gives values without positions. Product files are flat, so a scan for table headers and ``key =`` is enough;
a key written in another way (dotted, inside an inline table) is given the line of its table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?")
_KEY = re.compile(r"""^\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")


def find_line(text: str, location: Sequence[str | int]) -> int:
    """Line, from 1, of the value at a location such as ``("payload", 1, "kind")``; of its table if it is not there."""
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    wanted = tuple(location)
    best, best_depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header[2]
            table = tuple(name.split("."))
            if header[1] == "[[":
                table = (*table, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            here = table
        elif key := _KEY.match(line):
            here = (*table, key[1])
        else:
            continue
        depth = len(here)
        if depth > best_depth and here == wanted[:depth]:
            best, best_depth = number, depth
    return best


def dotted(location: Sequence[str | int]) -> str:
    """A location as people write it: ``payload[1].kind``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
