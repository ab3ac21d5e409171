"""Charts: what stands in them."""

from __future__ import annotations

import re

import pytest

from sealwright_licensing.console.charts import columns, short_number
from sealwright_licensing.console.metering_pages import SHOWN_MODELS, series_names


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (999, "999"), (1000, "1k"), (2374, "2.4k"), (9949, "9.9k"), (9950, "10k"), (999_499, "999k"),
        (999_500, "1M"), (123_456_789, "123M"), (10**9, "1G"), (999_500_000_000, "1T"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: int, shown: str) -> None:
    assert short_number(value) == shown


def test_the_year_stands_where_it_begins() -> None:
    chart = columns(["2026-11", "2026-12", "2027-01"], [("a", [1, 2, 3])])
    assert re.findall(r">(\d+)</text>", chart) == ["1", "11", "2026", "2", "12", "3", "01", "2027"]


def test_models_that_have_no_colour_left_are_added_up() -> None:
    """So that a column is as high as its sum."""
    models = [f"m{number}" for number in range(SHOWN_MODELS + 2)]
    assert series_names(models[:SHOWN_MODELS], "others") == {name: name for name in models[:SHOWN_MODELS]}
    named = series_names(models, "others")
    assert list(dict.fromkeys(named.values())) == [*models[: SHOWN_MODELS - 1], "others"]
    assert [name for name in models if named[name] == "others"] == models[SHOWN_MODELS - 1 :]
