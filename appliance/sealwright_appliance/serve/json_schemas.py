"""JSON schemas that a client sends, which the engine makes into a grammar: bounded before it sees them.

The engine runs for everybody, and what it makes of a schema it makes in memory. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from sealwright_appliance.serve.errors import ApiError

SCHEMA_BYTES = 64 * 1024
DEPTH_MOST = 32
"""Lists and objects within each other."""
NODES_MOST = 5_000
REPEATED_MOST = 2_000
"""Of a list's entries or a text's characters: llama.cpp's own limit (MAX_REPETITION_THRESHOLD)."""
PROPERTIES_MOST = 256
"""Of one object: the grammar of those that may be missing grows with the square, and 1200 took llama-server 12 s."""
REPEATS = frozenset(("minItems", "maxItems", "minLength", "maxLength"))


def require_bounded_schema(schema: Mapping[str, Any], param: str) -> None:
    """Refuse a schema that is too large, or refers to anything outside itself.

    Args:
        param: where it stands in the request, for the error.

    Raises:
        ApiError: 400.
    """
    for number, (part, depth) in enumerate(parts(schema), 1):
        if number > NODES_MOST or depth > DEPTH_MOST:
            raise _refused(param, f"a schema has at most {NODES_MOST} parts, {DEPTH_MOST} of them within each other")
        if isinstance(part, dict):
            _require_known(part, param)
        elif not is_number_of_json(part):
            raise _refused(param, "expected numbers that are finite")
    if len(json.dumps(schema)) > SCHEMA_BYTES:
        raise _refused(param, f"a schema has at most {SCHEMA_BYTES} bytes")


def parts(value: Any) -> Iterator[tuple[Any, int]]:
    """A JSON value and everything in it, with its depth from 1 on."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict | list):
            inner = part.values() if isinstance(part, dict) else part
            waiting += [(one, depth + 1) for one in inner]


def is_number_of_json(value: object) -> bool:
    """False for a number that Python's parser takes and others do not."""
    try:
        return not isinstance(value, int | float) or math.isfinite(float(value))
    except OverflowError:
        return False


def _require_known(part: Mapping[str, Any], param: str) -> None:
    reference = part.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        raise _refused(param, "a $ref may only point into the schema itself (#/…)")
    properties = part.get("properties")
    if isinstance(properties, dict) and len(properties) > PROPERTIES_MOST:
        raise _refused(param, f"an object has at most {PROPERTIES_MOST} properties")
    for name in REPEATS & part.keys():
        if isinstance(part[name], int | float) and not 0 <= part[name] <= REPEATED_MOST:
            raise _refused(param, f"{name}: expected 0 to {REPEATED_MOST}")


def _refused(param: str, what: str) -> ApiError:
    return ApiError(400, "invalid_parameter", f"{param}: {what}.", param=param)
