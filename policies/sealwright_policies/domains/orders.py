"""How values of a domain's keys compare: which is wider (policies/spec/domain.md, 2).

An order is a lattice over the values of one key. ``beyond`` names what is wider in a value than in a bound, piece by
piece, so that a refusal can point at the piece; ``meet`` is the widest value within both. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sealwright_policies.appraisal.reference_values import version_key


@dataclass(frozen=True, slots=True)
class Excess:
    """One piece of a value that its bound does not hold."""

    index: int | None
    """In a list of tables, which."""
    found: str
    allowed: str
    bound_index: int | None = None
    """In a list of tables of the bound, which is nearest."""


class Order(Protocol):
    """The order of one key."""

    rule: str
    """For the reference: what a domain downstream may say."""

    def beyond(self, value: Any, bound: Any) -> tuple[Excess, ...]:
        """What in ``value`` is wider than ``bound``; empty if it is within."""

    def meet(self, one: Any, other: Any) -> Any:
        """The widest value that is within both."""


class AtMost:
    """Numbers, and booleans where true permits."""

    rule = "at most"

    def beyond(self, value: int, bound: int) -> tuple[Excess, ...]:
        return () if value <= bound else (Excess(None, said(value), f"at most {said(bound)}"),)

    def meet(self, one: int, other: int) -> int:
        return min(one, other)


class AtLeast:
    """Booleans where true demands."""

    rule = "at least"

    def beyond(self, value: int, bound: int) -> tuple[Excess, ...]:
        return () if value >= bound else (Excess(None, said(value), f"at least {said(bound)}"),)

    def meet(self, one: int, other: int) -> int:
        return max(one, other)


class Ranked:
    """Names in an order; later ones permit less."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    rule = "at least"

    def beyond(self, value: str, bound: str) -> tuple[Excess, ...]:
        return () if self.rank(value) >= self.rank(bound) else (Excess(None, said(value), f"at least {said(bound)}"),)

    def meet(self, one: str, other: str) -> str:
        return max(one, other, key=self.rank)

    def rank(self, value: str) -> int:
        """Place from 0."""
        return self._names.index(value)


class FromVersion:
    """The lowest version: a later one permits less."""

    rule = "not before"

    def beyond(self, value: str, bound: str) -> tuple[Excess, ...]:
        return () if version_key(value) >= version_key(bound) else (Excess(None, value, f"from {bound} on"),)

    def meet(self, one: str, other: str) -> str:
        return max(one, other, key=version_key)


class BelowVersion:
    """The first version that is too high: an earlier one permits less."""

    rule = "not after"

    def beyond(self, value: str, bound: str) -> tuple[Excess, ...]:
        return () if version_key(value) <= version_key(bound) else (Excess(None, value, f"below {bound}"),)

    def meet(self, one: str, other: str) -> str:
        return min(one, other, key=version_key)


class Subset:
    """Names, each of which permits something."""

    rule = "subset"

    def beyond(self, value: Iterable[str], bound: Iterable[str]) -> tuple[Excess, ...]:
        more = sorted(set(value) - set(bound))
        return (Excess(None, listed(more), f"only {listed(bound)}"),) if more else ()

    def meet(self, one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(one) & set(other)))


class Superset:
    """Names, each of which demands something."""

    rule = "superset"

    def beyond(self, value: Iterable[str], bound: Iterable[str]) -> tuple[Excess, ...]:
        missing = sorted(set(bound) - set(value))
        return (Excess(None, listed(value), f"no less than {listed(missing)}"),) if missing else ()

    def meet(self, one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(set(one) | set(other)))


def said(value: object) -> str:
    """A value as it stands in TOML."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def listed(names: Iterable[str]) -> str:
    """Names for a sentence."""
    return ", ".join(sorted(map(str, names))) or "none"


AT_MOST = AtMost()
AT_LEAST = AtLeast()
FROM_VERSION = FromVersion()
BELOW_VERSION = BelowVersion()
SUBSET = Subset()
SUPERSET = Superset()
