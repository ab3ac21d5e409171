"""JSON schemas that a client sends, which the engine makes into a grammar: bounded before it sees them.

The engine runs for everybody, and what it makes of a schema it makes in memory. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sealwright_appliance.serve.errors import ApiError

SCHEMA_BYTES = 64 * 1024
"""Of all schemas of a request."""
DEPTH_MOST = 32
"""Lists and objects within each other, and references behind each other where ``allOf`` joins objects."""
NODES_MOST = 5_000
"""Of all schemas of a request."""
REPEATED_MOST = 2_000
"""Of a list's entries or a text's characters: llama.cpp's own limit (MAX_REPETITION_THRESHOLD)."""
PROPERTIES_MOST = 256
"""Of one object: the grammar of those that may be missing grows with the square, and 1200 took llama-server 12 s."""
SQUARES_MOST = 2 * PROPERTIES_MOST**2
"""Of the properties of each object, over all schemas of a request."""
REPEATS = frozenset(("minItems", "maxItems", "minLength", "maxLength"))


@dataclass(slots=True)
class SchemaBudget:
    """What the schemas of one request, of its reply and of all its functions, have together."""

    nodes: int = 0
    size: int = 0
    squares: int = 0
    referred: dict[str, Any] = field(default_factory=dict)
    """By reference. llama.cpp has one table for all functions: of two meanings it would take the first for both."""

    def spend(self, schema: Mapping[str, Any], param: str) -> None:
        """Refuse a schema that is too large behind those before it, or refers to anything outside itself.

        Args:
            param: where it stands in the request, for the error.

        Raises:
            ApiError: 400.
        """
        for part, depth in parts(schema):
            self.nodes += 1
            if self.nodes > NODES_MOST or depth > DEPTH_MOST:
                most = f"at most {NODES_MOST} parts, {DEPTH_MOST} of them within each other"
                raise _refused(param, f"the schemas of a request have {most}")
            if isinstance(part, dict):
                _require_known(part, param)
                self._require_one_meaning(part, schema, param)
                self._spend_properties(part, schema, param)
            elif not is_number_of_json(part):
                raise _refused(param, "expected numbers that are finite")
        self.size += len(json.dumps(schema))
        if self.size > SCHEMA_BYTES:
            raise _refused(param, f"the schemas of a request have at most {SCHEMA_BYTES} bytes")

    def _require_one_meaning(self, part: Mapping[str, Any], schema: Mapping[str, Any], param: str) -> None:
        reference = part.get("$ref")
        if isinstance(reference, str):
            meant = _target(reference, schema)
            if self.referred.setdefault(reference, meant) != meant:
                raise _refused(param, "a $ref means the same in all schemas of a request")

    def _spend_properties(self, part: Mapping[str, Any], schema: Mapping[str, Any], param: str) -> None:
        for count in (_properties(part), _joined(part, schema, param)):
            if count > PROPERTIES_MOST:
                raise _refused(param, f"an object has at most {PROPERTIES_MOST} properties")
            self.squares += count**2
        if self.squares > SQUARES_MOST:
            what = f"{SQUARES_MOST} is the most that the squares of their objects' properties come to"
            raise _refused(param, f"the schemas of a request are too wide: {what}")


def parts(value: Any) -> Iterator[tuple[Any, int]]:
    """A JSON value and everything in it, with its depth from 1 on."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        yield part, depth
        if isinstance(part, dict | list):
            inner = part.values() if isinstance(part, dict) else part
            waiting += [(one, depth + 1) for one in inner]


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    for part, _ in parts(value):
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            yield from part


def texts_shown(value: Any) -> Iterator[str]:
    """What a template may make of a JSON value: its texts, and the whole as JSON, in which marks stand closest."""
    yield from texts(value)
    yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
    for name in REPEATS & part.keys():
        if isinstance(part[name], int | float) and not 0 <= part[name] <= REPEATED_MOST:
            raise _refused(param, f"{name}: expected 0 to {REPEATED_MOST}")


def _properties(part: Any) -> int:
    properties = part.get("properties") if isinstance(part, dict) else None
    return len(properties) if isinstance(properties, dict) else 0


def _joined(part: Mapping[str, Any], schema: Mapping[str, Any], param: str) -> int:
    """Properties of the one object that llama.cpp makes of an ``allOf``, references followed as it does."""
    count = 0
    for one in _list(part.get("allOf")):
        choices = one.get("anyOf") if isinstance(one, dict) else None
        for choice in [one] if choices is None else _list(choices):
            count += _properties(_referred(choice, schema, param))
    return count


def _list(value: Any) -> list[Any]:
    """What llama.cpp goes through: also an object's values."""
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _referred(part: Any, schema: Mapping[str, Any], param: str) -> Any:
    """What a part refers to at last. A circle here ends an engine: llama.cpp follows it until its stack is full."""
    for _ in range(DEPTH_MOST):
        reference = part.get("$ref") if isinstance(part, dict) else None
        if not isinstance(reference, str):
            return part
        part = _target(reference, schema)
        if part is None:
            break
    raise _refused(param, f"a $ref in allOf leads to an object within {DEPTH_MOST} steps")


def _target(reference: str, schema: Any) -> Any:
    """None: there is nothing."""
    part = schema
    for step in reference.split("/")[1:]:
        part = _step(part, step)
    return part


def _step(part: Any, step: str) -> Any:
    if isinstance(part, list):
        return part[int(step)] if step.isdecimal() and len(step) < 6 and int(step) < len(part) else None
    return part.get(step) if isinstance(part, dict) else None


def _refused(param: str, what: str) -> ApiError:
    return ApiError(400, "invalid_parameter", f"{param}: {what}.", param=param)
