"""Usage by day: each batch counts once whatever happens between, and days go when they are over."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.files import write_durably
from sealwright_appliance.metering import usage_days
from sealwright_appliance.metering.journal import GATEWAYS_MOST, BatchRow
from sealwright_appliance.metering.usage_days import DAY_ROWS_MOST, DAYS_KEPT, UsageDays, day_of, over
from sealwright_policies.errors import OperationError
from sealwright_policies.metering.receipt import MODELS_MOST, OTHER_KEYS

NOON = 1_795_600_000
DAY_S = 86_400
GATEWAY = "ab" * 16


def row(model: str = "medical", key: str = "ward") -> BatchRow:
    return BatchRow(model=model, key=key, requests=1, prompt_tokens=10, completion_tokens=5, busy_ms=7)


def requests(days: UsageDays) -> dict[str, int]:
    return {one.day: sum(row.requests for row in one.rows) for one in days.days()}


def test_a_batch_counts_once_on_the_day_on_which_it_came(tmp_path: Path) -> None:
    """Also when it comes again on the next day, or after a boot, or with the clock put back."""
    days = UsageDays(tmp_path)
    days.take(GATEWAY, 1, [row()], NOON)
    days.take(GATEWAY, 1, [row()], NOON + DAY_S)
    days.take(GATEWAY, 2, [row()], NOON + DAY_S)
    for again in (days, UsageDays(tmp_path)):
        again.take(GATEWAY, 2, [row()], NOON - DAY_S)
        again.take(GATEWAY, 1, [row()], NOON)
    assert requests(days) == {day_of(NOON): 1, day_of(NOON + DAY_S): 1}
    (kept,) = days.days()[0].rows
    assert (kept.model, kept.key, kept.prompt_tokens, kept.completion_tokens) == ("medical", "ward", 10, 5)


@pytest.mark.parametrize("before", [True, False])
def test_a_power_cut_neither_loses_nor_doubles_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    """The gateway has no answer, and sends it again to the next agent."""

    def cut(path: Path, content: bytes) -> None:
        if not before:
            write_durably(path, content)
        raise OperationError("The power is gone.")

    with monkeypatch.context() as cutting:
        cutting.setattr(usage_days, "write_durably", cut)
        with pytest.raises(OperationError):
            UsageDays(tmp_path).take(GATEWAY, 1, [row()], NOON)
    after = UsageDays(tmp_path)
    after.take(GATEWAY, 1, [row()], NOON)
    assert requests(after) == {day_of(NOON): 1}


def test_what_is_over_goes(tmp_path: Path) -> None:
    days = UsageDays(tmp_path)
    for at in range(DAYS_KEPT + 3):
        days.take(GATEWAY, at + 1, [row()], NOON + at * DAY_S)
    kept = [one.day for one in days.days()]
    assert kept == [day_of(NOON + at * DAY_S) for at in range(3, DAYS_KEPT + 3)]


@given(st.sets(st.integers(0, 400), max_size=150), st.integers(0, 400))
def test_never_more_days_than_are_kept_and_today_stays(ago: set[int], now: int) -> None:
    """Also behind a clock that ran ahead."""
    today = day_of(NOON + now * DAY_S)
    days = {day_of(NOON + one * DAY_S) for one in ago} | {today}
    left = days - over(days, today)
    assert today in left
    assert len(left) <= DAYS_KEPT
    assert all(one >= day_of(NOON + (now - DAYS_KEPT + 1) * DAY_S) for one in left)


def test_keys_without_room_are_counted_together(tmp_path: Path) -> None:
    days = UsageDays(tmp_path)
    models = [f"model-{number}" for number in range(MODELS_MOST)]
    keys = [row(model=model, key=f"key {number}") for number in range(10) for model in models]
    days.take(GATEWAY, 1, keys, NOON)
    (day,) = days.days()
    assert len(day.rows) == DAY_ROWS_MOST
    assert sum(one.requests for one in day.rows) == len(keys)
    assert {one.model for one in day.rows if one.key == OTHER_KEYS} == set(models)


def test_only_the_last_gateways_are_remembered(tmp_path: Path) -> None:
    days = UsageDays(tmp_path)
    for number in range(GATEWAYS_MOST + 2):
        days.take(f"{number:032x}", 1, [row()], NOON)
    assert [one.gateway_id for one in days.days()[0].gateways][-1] == f"{GATEWAYS_MOST + 1:032x}"


def test_a_day_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    """The box goes on counting."""
    (tmp_path / f"{day_of(NOON)}.json").write_bytes(b"{")
    days = UsageDays(tmp_path)
    days.take(GATEWAY, 1, [row()], NOON)
    assert requests(days) == {day_of(NOON): 1}
