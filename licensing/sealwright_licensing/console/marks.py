"""How values look on a page: times, durations, numbers, ids. All text comes escaped."""

from __future__ import annotations

import datetime

from markupsafe import Markup

from sealwright_licensing.console.languages import say
from sealwright_policies.languages import Language

SHORT = 12
"""Characters of an id in a list."""
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def utc(seconds: int) -> str:
    """UTC, to the minute."""
    return _moment(seconds).strftime("%Y-%m-%d %H:%M")


def time_mark(seconds: int | None) -> Markup:
    """A time in UTC, whole in its title; a dash for none."""
    if not seconds:
        return Markup("–")
    moment = _moment(seconds)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.strftime("%Y-%m-%d %H:%M:%S UTC"), utc(seconds)
    )


def short_mark(value: str) -> Markup:
    """An id, cut short, whole in its title."""
    shown = value if len(value) <= SHORT + 4 else f"{value[:SHORT]}…"
    return Markup('<code title="{}">{}</code>').format(value, shown)


def whole_mark(value: str) -> Markup:
    """A value in full; one click selects it, to be copied."""
    return Markup('<code class="whole">{}</code>').format(value)


def duration(language: Language, seconds: int) -> str:
    """A duration in its greatest unit that is whole, e.g. "30 days"."""
    for size, unit in _UNITS:
        if seconds and seconds % size == 0:
            number = seconds // size
            return say(language, f"unit.{unit}.{'one' if number == 1 else 'many'}", number=f"{number:,}")
    return say(language, "unit.second.many", number=seconds)


def number(value: float) -> str:
    """A number with its thousands apart."""
    return f"{value:,}"


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(min(seconds, 253_402_300_799), datetime.UTC)
