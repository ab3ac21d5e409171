"""What the service makes of receipts: each counts once, and whatever is odd is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_policies.errors import RejectionCode
from sealwright_policies.metering.judgement import (
    ENGINE_PLACES,
    UNMETERED_MS,
    UNMETERED_PER_RESET_MS,
    HeldChain,
    Judgement,
    judge_plausibility,
    judge_receipts,
)
from sealwright_policies.metering.receipt import ModelUsage, SealedReceipt
from sealwright_testing.metering import HOUR_MS, PARTITION, ChainWriter, point, usage_row


class Ledger:
    """A service's memory of one chain, without a database."""

    def __init__(self) -> None:
        self.head: HeldChain | None = None
        self.stored: dict[str, bool] = {}
        self.findings: list[RejectionCode] = []

    def take(self, receipts: Sequence[SealedReceipt], refused_start: str = "") -> Judgement:
        judged = judge_receipts(receipts, self.head, self.stored, refused_start=refused_start)
        for one in judged.new:
            assert one.sealed.digest not in self.stored, "stored twice"
            self.stored[one.sealed.digest] = one.disputed
        self.head = judged.head
        self.findings += [finding.code for finding in judged.findings]
        return judged

    @property
    def counted(self) -> set[str]:
        return {digest for digest, disputed in self.stored.items() if not disputed}


def test_a_chain_in_order_has_no_findings() -> None:
    ledger, writer = Ledger(), ChainWriter()
    for _ in range(3):
        ledger.take([writer.next(), writer.next()])
    assert ledger.findings == []
    assert len(ledger.counted) == 6


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_sent_again_counts_once(data: st.DataObject) -> None:
    """Any slices of one chain, in the order in which a box that loses replies sends them: all of it, once."""
    writer, ledger = ChainWriter(), Ledger()
    sent = 0
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(1, 4))):
            writer.next()
        first = data.draw(st.integers(0, sent))
        last = data.draw(st.integers(max(first, sent), len(writer.receipts) - 1))
        ledger.take(writer.receipts[first : last + 1])
        sent = last + 1
    assert ledger.findings == []
    assert ledger.counted == {one.digest for one in writer.receipts[:sent]}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), st.integers(1, 4), st.lists(st.booleans(), min_size=1, max_size=6))
def test_a_state_volume_that_was_put_back_is_found_once_and_both_histories_kept(
    common: int, lost: int, reports: list[bool]
) -> None:
    writer, ledger = ChainWriter(), Ledger()
    for _ in range(common + 1):
        writer.next()
    ledger.take(writer.receipts)
    copy = writer.copy()
    for _ in range(lost):
        ledger.take([writer.next()])
    for single in reports:
        new = [copy.next(rows=[usage_row(requests=7)])] + ([] if single else [copy.next(rows=[])])
        ledger.take(new)
    assert ledger.findings == [RejectionCode.METERING_FORK]
    assert ledger.counted == {one.digest for one in writer.receipts}
    assert set(ledger.stored) == {one.digest for one in writer.receipts + copy.receipts}


def test_a_gap_is_found_and_what_follows_counts() -> None:
    ledger, writer = Ledger(), ChainWriter()
    ledger.take([writer.next()])
    writer.next()
    writer.next()  # neither was sent
    judged = ledger.take([writer.next(), writer.next()])
    assert [(one.code, one.sequence) for one in judged.findings] == [(RejectionCode.METERING_GAP, 4)]
    assert judged.findings[0].sentence == "Receipts 2 to 3 are missing."
    assert len(ledger.counted) == 3


def test_a_new_chain_above_one_is_a_gap() -> None:
    ledger, writer = Ledger(), ChainWriter()
    writer.next()
    ledger.take([writer.next()])
    assert ledger.findings == [RejectionCode.METERING_GAP]


def test_a_successor_that_names_another_head_is_a_fork() -> None:
    ledger, writer = Ledger(), ChainWriter()
    ledger.take([writer.next()])
    ledger.take([writer.next(previous="11" * 32)])
    assert ledger.findings == [RejectionCode.METERING_FORK]
    assert len(ledger.counted) == 1


def test_a_chain_that_should_not_have_begun_is_disputed_as_a_whole() -> None:
    ledger, writer = Ledger(), ChainWriter()
    ledger.take([writer.next()], "No enrolment came between.")
    ledger.take([writer.next()])
    assert ledger.findings == [RejectionCode.METERING_FORK]
    assert ledger.counted == set()
    assert len(ledger.stored) == 2


# --- plausibility -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"running_ms": 3 * HOUR_MS}, None),
        ({"running_ms": 3 * HOUR_MS + 1}, RejectionCode.METERING_IMPLAUSIBLE),
        (
            {
                "models": [
                    ModelUsage(model="medical", partition_id=PARTITION, lease_ms=3 * HOUR_MS + 1, copying_alarms=0)
                ]
            },
            RejectionCode.METERING_IMPLAUSIBLE,
        ),
        ({"rows": [usage_row(busy_ms=ENGINE_PLACES * 3 * HOUR_MS)]}, None),
        (
            {"rows": [usage_row("a", busy_ms=ENGINE_PLACES * 3 * HOUR_MS), usage_row("b", busy_ms=1)]},
            RejectionCode.METERING_IMPLAUSIBLE,
        ),
        ({"running_ms": 0, "closed": point(UNMETERED_MS)}, None),
        ({"running_ms": 0, "closed": point(UNMETERED_MS + 1)}, RejectionCode.METERING_GAP),
        ({"running_ms": 0, "closed": point(UNMETERED_MS + UNMETERED_PER_RESET_MS, resets=13)}, None),
        (
            {"running_ms": 0, "closed": point(UNMETERED_MS + UNMETERED_PER_RESET_MS + 1, resets=13)},
            RejectionCode.METERING_GAP,
        ),
        ({"opened": point(9 * HOUR_MS), "closed": point(8 * HOUR_MS, resets=13, ticks=10)}, None),
    ],
)
def test_times_are_held_against_the_tpm(changes: dict[str, Any], code: RejectionCode | None) -> None:
    """One step on either side of each bound. Clock that a power cut took back excuses, and accuses nobody."""
    found = judge_plausibility(ChainWriter().next(**changes).receipt)
    assert [one.code for one in found] == ([code] if code else [])


def test_a_volume_put_back_between_two_receipts_shows_as_time_that_no_meter_ran() -> None:
    """Its journal forgets five hours; the TPM's clock does not."""
    honest = ChainWriter().next(hours=6).receipt
    rolled_back = ChainWriter().next(hours=6, running_ms=HOUR_MS).receipt
    assert judge_plausibility(honest) == []
    assert [one.code for one in judge_plausibility(rolled_back)] == [RejectionCode.METERING_GAP]
