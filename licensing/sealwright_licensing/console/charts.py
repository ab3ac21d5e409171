"""Charts as SVG, made here: classes for colour, no script and no style in them. The same figures stand in a table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, ROW, LABEL, VALUE = 640, 30, 190, 90
"""Of a chart of bars, units of its view box; labels to the left, values to the right."""
_HEIGHT, _FOOT, _HEAD = 220, 26, 20


def bars(rows: Sequence[tuple[str, int]]) -> Markup:
    """Horizontal bars, one a row."""
    most = max((value for _, value in rows), default=0) or 1
    space = WIDTH - LABEL - VALUE
    parts = [
        Markup(
            '<text x="{}" y="{}" class="label">{}</text><rect x="{}" y="{}" width="{}" height="18" class="bar"/>'
            '<text x="{}" y="{}" class="value">{}</text>'
        ).format(
            LABEL - 10, at * ROW + 19, label, LABEL, at * ROW + 5, max(1, round(space * value / most)) if value else 0,
            LABEL + round(space * value / most) + 8, at * ROW + 19, f"{value:,}",
        )
        for at, (label, value) in enumerate(rows)
    ]  # fmt: skip
    return _svg(WIDTH, ROW * len(rows), parts)


def columns(labels: Sequence[str], series: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """Stacked columns, one a label; a series has a class of its own.

    Args:
        series: name and one value for each label.
    """
    totals = [sum(values[at] for _, values in series) for at in range(len(labels))]
    most = max(totals, default=0) or 1
    step = WIDTH / max(1, len(labels))
    parts = []
    for at, label in enumerate(labels):
        left, top = round(at * step + step * 0.15, 1), float(_HEIGHT)
        wide = round(min(step * 0.7, 80), 1)
        for number, (name, values) in enumerate(series):
            tall = round((_HEIGHT - _HEAD) * values[at] / most, 1)
            top = round(top - tall, 1)
            parts.append(
                Markup('<rect x="{}" y="{}" width="{}" height="{}" class="series{}"><title>{}</title></rect>').format(
                    left, top, wide, tall, number % 6, f"{label}, {name}: {values[at]:,}"
                )
            )
        middle = round(left + wide / 2, 1)
        parts.append(
            Markup('<text x="{}" y="{}" class="middle">{}</text><text x="{}" y="{}" class="middle">{}</text>').format(
                middle, round(top - 5, 1), short_number(totals[at]), middle, _HEIGHT + 18, label
            )
        )
    return _svg(WIDTH, _HEIGHT + _FOOT, parts)


def short_number(value: int) -> str:
    """At most four characters and a unit."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def _svg(width: int, height: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">{}</svg>').format(
        width, max(height, 1), Markup("").join(parts)
    )
