"""Where in a TOML text a key stands, so that an error about a value can name its line; and reading TOML safely.

``tomllib`` gives values without positions. Our files are flat, so a scan for table headers and ``key =`` is enough;
a key written in another way (dotted, inside an inline table) is given the line of its table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from sealwright_policies.errors import FormatError

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?")
_KEY = re.compile(r"""^\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises:
        FormatError: not TOML; with line and column where tomllib tells them.
    """
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and an int of thousands of digits
        raise FormatError(f"not TOML: {error}") from error
    except RecursionError as error:
        raise FormatError("not TOML: nested too deep") from error


def find_line(text: str, location: Sequence[str | int]) -> int:
    """Line, from 1, of the value at a location such as ``("payload", 1, "kind")``; of its table if it is not there.

    An array of tables, ``("payload",)``, is where its first table is.
    """
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
        if here[:-1] == wanted and here[-1] == 0:
            here = wanted
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


_SHOWN = 80


def problem_sentence(problem: ErrorDetails) -> str:
    """What is wrong with a value, for whoever wrote the file."""
    match problem["type"]:
        case "missing":
            return "this key is missing."
        case "extra_forbidden":
            return "no such key."
        case "value_error":
            return f"{problem['msg'].removeprefix('Value error, ')}."
        case _:
            found = repr(problem["input"])
            return f"{problem['msg']} (found {found if len(found) <= _SHOWN else found[:_SHOWN] + '…'})."
