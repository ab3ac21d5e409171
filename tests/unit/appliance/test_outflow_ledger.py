"""Budgets: nobody gets more than them, whatever is restarted, cut off or set."""

from __future__ import annotations

import calendar
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.outflow.ledger import (
    ALL_KEYS,
    COUNT_MOST,
    DAY_S,
    OTHER_KEYS,
    ROWS_MOST,
    Asked,
    Ledger,
    advanced,
    grant,
    used,
)
from sealwright_policies.domains.compiler.outflow import outflow_of
from sealwright_policies.domains.model import Answers
from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy, ReleaseOutflow

KEY_DAY = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, requests=3, tokens=1000)
MODEL_MONTH = OutflowBudget(scope=BudgetScope.MODEL, window=BudgetWindow.MONTH, tokens=1500)
POLICY = OutflowPolicy(budgets=(KEY_DAY, MODEL_MONTH))
JANUARY_30 = calendar.timegm((2027, 1, 30, 6, 0, 0))


def asked(key: str, tokens: int = 100) -> Asked:
    return Asked(key, 1, tokens)


def draw(ledger: Ledger, key: str, *, most: int = 200) -> tuple[Ledger, int, int]:
    """Requests and tokens that a key gets until it gets none."""
    requests = tokens = 0
    for _ in range(most):
        ledger, given = grant(ledger, {"medical": POLICY}, asked(key))
        requests, tokens = requests + given.requests, tokens + given.tokens
        if given.retry_after_s is not None:
            break
    return ledger, requests, tokens


def test_a_key_gets_its_day_and_all_keys_their_month() -> None:
    ledger, requests, tokens = draw(Ledger(at_s=JANUARY_30), "ward")
    assert (requests, tokens <= 1000) == (3, True)
    ledger, _, _ = draw(ledger, "second")
    ledger = advanced(ledger, DAY_S, 0)
    for key in ("ward", "second", "third", "fourth", "fifth"):
        ledger, _, _ = draw(ledger, key)
    assert used(ledger, "medical", ALL_KEYS).month_tokens == 1500
    ledger, given = grant(ledger, {"medical": POLICY}, asked("sixth"))
    assert given.tokens == 0
    assert given.retry_after_s == calendar.timegm((2027, 2, 1, 0, 0, 0)) - ledger.at_s


def test_a_window_that_is_over_begins_with_nothing() -> None:
    ledger, _, _ = draw(Ledger(at_s=JANUARY_30), "ward")
    assert draw(ledger, "ward")[1] == 0
    assert draw(advanced(ledger, 18 * 3600 - 1, 0), "ward")[1] == 0
    assert draw(advanced(ledger, 18 * 3600, 0), "ward")[1] == 3


def test_another_model_has_budgets_of_its_own() -> None:
    ledger, _, _ = draw(Ledger(at_s=JANUARY_30), "ward")
    assert grant(ledger, {"finance": POLICY}, asked("ward"))[1].requests > 0


def test_the_calendar_goes_on_with_running_time_and_the_services_and_never_back() -> None:
    ledger = advanced(Ledger(at_s=JANUARY_30), 10, JANUARY_30 - 5)
    assert ledger.at_s == JANUARY_30 + 10
    assert advanced(ledger, -5, 0).at_s == ledger.at_s
    assert advanced(ledger, 1, JANUARY_30 + 500).at_s == JANUARY_30 + 500


def test_keys_beyond_the_most_share_a_row() -> None:
    rows = tuple(used(Ledger(), "medical", f"key-{number}") for number in range(ROWS_MOST))
    ledger, _, _ = draw(Ledger(rows=rows), "new")
    assert used(ledger, "medical", "new").day_requests == 0
    assert used(ledger, "medical", OTHER_KEYS).day_requests == 3
    assert draw(ledger, "newer")[1] == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3000), st.integers(0, 40_000)), max_size=60))
def test_no_order_of_requests_overdraws_a_budget(wishes: list[tuple[str, int, int]]) -> None:
    ledger = Ledger(at_s=JANUARY_30)
    by_day: dict[tuple[str, int], list[int]] = {}
    by_month: dict[int, int] = {}
    for key, tokens, passed in wishes:
        ledger = advanced(ledger, passed, 0)
        ledger, given = grant(ledger, {"medical": POLICY}, asked(key, tokens))
        row = by_day.setdefault((key, ledger.at_s // DAY_S), [0, 0])
        row[0], row[1] = row[0] + given.requests, row[1] + given.tokens
        month = used(ledger, "medical", ALL_KEYS).month
        by_month[month] = by_month.get(month, 0) + given.tokens
    assert all(requests <= 3 and tokens <= 1000 for requests, tokens in by_day.values())
    assert all(tokens <= 1500 for tokens in by_month.values())


def keeper(folder: Path, policy: OutflowPolicy = POLICY) -> BoxOutflow:
    release = ReleaseOutflow(version=1, models={"medical": policy})
    return BoxOutflow(folder, release, frozenset({"medical"}), lambda: JANUARY_30, lambda: 0.0)


def test_what_is_used_is_on_the_disk_before_it_is_handed_out(tmp_path: Path) -> None:
    """A process that is killed at once, or a power cut, gives nothing back."""
    for _ in range(3):
        assert keeper(tmp_path).allow("medical", asked("ward")).requests == 1
    assert keeper(tmp_path).allow("medical", asked("ward")).requests == 0


def test_a_damaged_ledger_lets_nothing_out(tmp_path: Path) -> None:
    keeper(tmp_path).allow("medical", asked("ward"))
    (tmp_path / "ledger.json").write_bytes(b"{")
    with pytest.raises(FormatError):
        keeper(tmp_path).allow("medical", asked("ward"))


def test_a_model_that_the_release_has_not_makes_no_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        keeper(tmp_path).allow("elsewhere", asked("ward"))


UNLIMITED = OutflowPolicy(budgets=())


def compiled() -> OutflowPolicy:
    said = {
        "completions": True,
        "tokens_per_request": 1024,
        "tokens_per_day": 50_000,
        "requests_per_minute": 30,
        "requests_per_day": 1000,
        "model_tokens_per_day": 5_000_000,
        "model_requests_per_day": 100_000,
    }
    return outflow_of(Answers.model_validate(said))


@pytest.mark.parametrize("policy", [UNLIMITED, compiled()], ids=["no limits", "of a domain"])
def test_what_has_no_limit_is_counted_and_never_runs_over(tmp_path: Path, policy: OutflowPolicy) -> None:
    """Each start of the gateway asks for each key anew: five keys and a restart a day are 155 times in a month."""
    for number in range(200):
        assert keeper(tmp_path, policy).allow("medical", asked(f"key-{number}")).requests > 0
    total = used(keeper(tmp_path, policy).ledger(), "medical", ALL_KEYS)
    assert 200 <= total.month_requests < 200 * 100


def test_a_budget_that_an_update_makes_smaller_gives_nothing_back(tmp_path: Path) -> None:
    for _ in range(20):
        keeper(tmp_path, compiled()).allow("medical", asked("ward", 2000))
    given = keeper(tmp_path).allow("medical", asked("ward"))
    assert (given.tokens, given.retry_after_s is None) == (0, False)
    assert used(keeper(tmp_path).ledger(), "medical", "ward").day_tokens >= 40_000


def test_a_count_that_has_run_over_is_taken_for_the_most(tmp_path: Path) -> None:
    """So that one large number does not end all models; a budget is used up by it."""
    keeper(tmp_path, UNLIMITED).allow("medical", asked("ward"))
    ledger = json.loads((tmp_path / "ledger.json").read_bytes())
    for row in ledger["rows"]:
        row["day_requests"] = row["month_requests"] = 2**48 + 1
    (tmp_path / "ledger.json").write_text(json.dumps(ledger))
    assert keeper(tmp_path).allow("medical", asked("ward")).requests == 0
    for _ in range(2):
        assert keeper(tmp_path, UNLIMITED).allow("medical", asked("ward")).requests > 0
    assert used(keeper(tmp_path).ledger(), "medical", ALL_KEYS).day_requests == COUNT_MOST


def test_an_adapter_takes_from_the_budgets_of_its_base(tmp_path: Path) -> None:
    """Or who trains an adapter, which knows what its base knows, has the budgets of the base once more."""
    wide = OutflowPolicy(budgets=())
    release = ReleaseOutflow(version=1, models={"medical": POLICY, "own": wide}, bases={"own": "medical"})

    def box() -> BoxOutflow:
        return BoxOutflow(tmp_path, release, frozenset({"medical", "own"}), lambda: JANUARY_30, lambda: 0.0)

    assert [box().allow("own", asked("ward")).requests for _ in range(4)] == [1, 1, 1, 0]
    assert box().allow("medical", asked("ward")).requests == 0
    assert box().allow("medical", asked("other")).requests == 1
    tokens = sum(box().allow("own", asked(f"key-{number}")).tokens for number in range(30))
    assert used(box().ledger(), "medical", ALL_KEYS).month_tokens == 1500
    assert tokens < 1500
    narrow = ReleaseOutflow(version=1, models={"medical": wide, "own": POLICY}, bases={"own": "medical"})
    box_2 = BoxOutflow(tmp_path / "2", narrow, frozenset({"medical", "own"}), lambda: JANUARY_30, lambda: 0.0)
    assert [box_2.allow("own", asked("ward")).requests for _ in range(4)] == [1, 1, 1, 0]
    assert box_2.allow("medical", asked("ward")).requests > 0
