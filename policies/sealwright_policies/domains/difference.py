"""What became wider and what narrower from one domain to its next version, by the orders of its keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.orders import listed
from sealwright_policies.domains.reader import DomainFile, Location
from sealwright_policies.toml_location import dotted


class Direction(StrEnum):
    """How a key changed."""

    WIDER = "wider"
    NARROWER = "narrower"
    CHANGED = "changed"
    """A key without an order: members, chains, owner, sizes."""
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One change."""

    domain: str
    direction: Direction
    key: str
    sentence: str
    place: str
    """In the new file; of what is gone, in the old."""

    def as_dict(self) -> dict[str, str]:
        """For JSON output."""
        return {
            "domain": self.domain,
            "direction": self.direction.value,
            "key": self.key,
            "sentence": self.sentence,
            "place": self.place,
        }


def compare(old: DomainFile, new: DomainFile) -> tuple[Change, ...]:
    """All changes, those which widen first."""
    ordered = sorted(_ordered(old, new), key=lambda change: list(Direction).index(change.direction))
    return (*ordered, *_unordered(old, new))


def _ordered(old: DomainFile, new: DomainFile) -> Iterator[Change]:
    for limit in LIMITS.values():
        before, after = limit.value(old.domain), limit.value(new.domain)
        for direction, source, excesses, word in (
            (Direction.WIDER, new, limit.order.beyond(after, before), "was"),
            (Direction.NARROWER, old, limit.order.beyond(before, after), "now"),
        ):
            for excess in excesses:
                location: Location = limit.path if excess.index is None else (*limit.path, excess.index)
                sentence = f"{excess.found}, {word} {excess.allowed}"
                yield Change(new.domain.name, direction, dotted(location), sentence, source.place(location))


def _unordered(old: DomainFile, new: DomainFile) -> Iterator[Change]:
    for path in _paths_without_order(new.domain):
        before, after = _said(old.domain, path), _said(new.domain, path)
        if before != after:
            sentence = f"{listed(after - before)}, was {listed(before - after)}"
            yield Change(new.domain.name, Direction.CHANGED, ".".join(path), sentence, new.place(path))


def _paths_without_order(domain: Domain) -> Iterator[tuple[str, ...]]:
    yield from (("name",), ("member",), ("chain",))
    yield from (("owner", name) for name in type(domain.owner).model_fields)
    yield from (("resources", name) for name in type(domain.resources).model_fields)


def _said(domain: Domain, path: tuple[str, ...]) -> set[str]:
    value: Any = domain.model_dump(mode="json", by_alias=True)
    for part in path:
        value = value[part]
    entries = value if isinstance(value, list) else [value]
    return {_entry(one) for one in entries}


def _entry(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    words = (
        f"{key} {' and '.join(sorted(each)) if isinstance(each, list) else each}" for key, each in value.items() if each
    )
    return " ".join(words)
