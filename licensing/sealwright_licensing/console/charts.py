"""Charts as SVG, made here: classes for colour, no script and no style in them. The same figures stand in a table.

They are as wide as a telephone, so that their text can be read there, and grow by half at a desk.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, ROW, LABEL, VALUE = 360, 26, 110, 50
"""Of a chart of bars, units of its view box; labels to the left, values to the right."""
_HEIGHT, _FOOT, _HEAD = 150, 36, 20
_MIDDLE = Markup('<text x="{}" y="{}" class="middle">{}</text>')


def bars(rows: Sequence[tuple[str, int]]) -> Markup:
    """Horizontal bars, one a row."""
    most = max((value for _, value in rows), default=0) or 1
    space = WIDTH - LABEL - VALUE
    parts = [
        Markup(
            '<text x="{}" y="{}" class="label">{}</text><rect x="{}" y="{}" width="{}" height="18" class="bar"/>'
            '<text x="{}" y="{}" class="value">{}</text>'
        ).format(
            LABEL - 8, at * ROW + 17, label, LABEL, at * ROW + 4, max(1, round(space * value / most)) if value else 0,
            LABEL + round(space * value / most) + 6, at * ROW + 17, f"{value:,}",
        )
        for at, (label, value) in enumerate(rows)
    ]  # fmt: skip
    return _svg(WIDTH, ROW * len(rows), parts)


def columns(months: Sequence[str], series: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """Stacked columns, one a month; a series has a class of its own.

    Args:
        months: as YYYY-MM, in their order; the year stands where it begins.
        series: name and one value for each month.
    """
    totals = [sum(values[at] for _, values in series) for at in range(len(months))]
    most = max(totals, default=0) or 1
    step = WIDTH / max(1, len(months))
    parts = []
    for at, month in enumerate(months):
        left, top = round(at * step + step * 0.15, 1), float(_HEIGHT)
        wide = round(min(step * 0.7, 80), 1)
        for number, (name, values) in enumerate(series):
            tall = round((_HEIGHT - _HEAD) * values[at] / most, 1)
            top = round(top - tall, 1)
            parts.append(
                Markup('<rect x="{}" y="{}" width="{}" height="{}" class="series{}"><title>{}</title></rect>').format(
                    left, top, wide, tall, number % 6, f"{month}, {name}: {values[at]:,}"
                )
            )
        year, number_of_month = month.split("-")
        below = [(_HEIGHT + 14, number_of_month)]
        if at == 0 or not months[at - 1].startswith(year):
            below.append((_HEIGHT + 30, year))
        for height, text in [(round(top - 5, 1), short_number(totals[at])), *below]:
            parts.append(_MIDDLE.format(round(left + wide / 2, 1), height, text))
    return _svg(WIDTH, _HEIGHT + _FOOT, parts)


def short_number(value: int) -> str:
    """At most three characters and a unit, so that it is no wider than its column."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.2g}{unit}" if value < 9.95 * size else f"{value / size:.0f}{unit}"
    return str(value)


def _svg(width: int, height: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">{}</svg>').format(
        width, max(height, 1), Markup("").join(parts)
    )
