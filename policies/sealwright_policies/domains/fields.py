"""Field types that the tables of a domain share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints

from sealwright_policies.wire.encoding import Document

NAME_LIMIT = 28
"""Characters of a domain's name or payload's id: with ``sw-`` before it a user name of 31, Linux's longest."""
Name = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9][a-z0-9-]{{0,{NAME_LIMIT - 1}}}$")]
"""Of a domain, or id of a payload."""


class Table(Document):
    """Base of a domain's tables: frozen, strict, no unknown key."""


def once(key: Callable[[Any], object] = lambda one: one) -> AfterValidator:
    """Refuse a list in which two entries have the same key."""

    def check(values: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[object] = set()
        for one in values:
            name = key(one)
            if name in seen:
                raise ValueError(f"{name} stands twice")
            seen.add(name)
        return values

    return AfterValidator(check)
