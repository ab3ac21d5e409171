"""The reference of the domain file, made from the model: JSON Schema, and tables in Markdown for docs/domains.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, Final, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sealwright_policies.domains.fields import Table
from sealwright_policies.domains.levels import ceilings
from sealwright_policies.domains.limits import ENFORCERS, LIMITS
from sealwright_policies.domains.model import Domain, Level
from sealwright_policies.domains.orders import listed, said

BEGIN: Final = "<!-- reference: made by `sealwright-policy schema --markdown` -->"
END: Final = "<!-- end of reference -->"


def json_schema() -> str:
    """The JSON Schema of the file, for editors."""
    schema = Domain.model_json_schema(by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=2) + "\n"


def markdown() -> str:
    """The tables, between :data:`BEGIN` and :data:`END`."""
    lines = [BEGIN, ""]
    for title, table, path in _tables(Domain, ()):
        lines += [f"### {title}", "", "| key | default | within a chain | what |", "|---|---|---|---|"]
        lines += [_row(name, field, path) for name, field in table.model_fields.items() if _table_of(field) is None]
        held = ENFORCERS.get(path[0]) if path else None
        lines += ["", *([f"Held by: {', '.join(held)}.", ""] if held else [])]
    lines += ["### Ceilings of the levels", "", "| key | " + " | ".join(level.value for level in Level) + " |"]
    lines += ["|---|" + "---|" * len(Level), *_ceilings(), "", END]
    return "\n".join(lines) + "\n"


def _tables(table: type[Table], path: tuple[str, ...]) -> Iterator[tuple[str, type[Table], tuple[str, ...]]]:
    yield "The file", table, path
    for name, field in table.model_fields.items():
        inner = _table_of(field)
        if inner is not None:
            many = get_origin(field.annotation) is tuple
            title = f"`[[{name}]]`" if many else f"`[{name}]`"
            yield f"{title}: {field.description}", inner, (*path, name)


def _table_of(field: FieldInfo) -> type[Table] | None:
    """The model of a table, or of an array of tables."""
    kind: Any = field.annotation
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    if isinstance(kind, UnionType) or not isinstance(kind, type):
        return None
    return kind if issubclass(kind, Table) else None


def _row(name: str, field: FieldInfo, path: tuple[str, ...]) -> str:
    limit = LIMITS.get(".".join((*path, name)))
    default = "must be given" if field.default is PydanticUndefined else f"`{_default(field.default)}`"
    rule = limit.order.rule if limit else ""
    return f"| `{field.alias or name}` | {default} | {rule} | {field.description} |"


def _default(value: Any) -> str:
    if value is None:
        return "-"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _ceilings() -> Iterator[str]:
    keys = sorted({key for level in Level for key in ceilings(level)})
    for key in keys:
        order = LIMITS[key].order.rule
        cells = []
        for level in Level:
            value = ceilings(level).get(key)
            text = (listed(value) if isinstance(value, tuple) else said(value)) if value is not None else ""
            cells.append(text if text in ("", "none") else f"{order} {text}")
        yield f"| `{key}` | {' | '.join(cells)} |"
