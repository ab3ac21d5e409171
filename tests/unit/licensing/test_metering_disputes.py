"""Gaps, forks and second chains of metering receipts: the alarms, and the operator's word on what counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwright_licensing import metering
from sealwright_licensing.metering_records import MeteringChain
from sealwright_licensing.metering_reports import disputed_lines, totals, usage_lines
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.metering import settle_chain
from sealwright_licensing.store_sql import _SqlTransaction
from sealwright_policies.errors import RejectionCode
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import OPERATOR
from sealwright_testing.metered import Metered, forked
from sealwright_testing.metering import ChainWriter, usage_row


def test_a_gap_is_an_alarm_and_the_rest_counts(metered: Metered) -> None:
    metered.report(metered.writer.next())
    metered.writer.next()
    told = metered.report(metered.writer.next())
    assert [one.code for one in told.findings] == [RejectionCode.METERING_GAP]
    assert metered.alarm_codes() == ["METERING_GAP"]
    assert metered.requests() == 2


def test_a_fork_is_an_alarm_and_both_histories_are_kept(metered: Metered) -> None:
    forked(metered)
    assert metered.alarm_codes() == ["METERING_FORK"]
    assert metered.stored() == 6
    assert metered.requests() == 4


def settle(metered: Metered, chain: ChainWriter, *, count: bool) -> tuple[int, int]:
    """The operator's word about a chain: how many receipts it was about, and how many are left."""
    settled = settle_chain(metered.world.store, OPERATOR, chain.device_id, chain.chain_id, count=count, now=NOW)
    return settled.receipts, settled.left


@pytest.mark.parametrize(("counts", "expected"), [(True, 114), (False, 4)])
def test_the_operator_settles_a_fork(metered: Metered, counts: bool, expected: int) -> None:
    """Either way the chain goes on from where the box stands."""
    copy = forked(metered)
    copy.next(hours=3, rows=[])
    metered.report(copy.receipts[-1])
    assert settle(metered, copy, count=counts) == (3, 0)
    assert metered.requests() == expected
    assert metered.report(copy.next()).findings == []
    assert metered.requests() == expected + 1
    assert settle(metered, copy, count=True) == (0, 0), "it was the last word"
    assert metered.requests() == expected + 1
    assert not any(one.disputed and one.requests for one in usage_lines(metered.world.store.engine, metered.query))
    assert disputed_lines(metered.world.store.engine, metered.query) == 0


def test_many_receipts_are_settled_some_at_a_time(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read once, and the chain stays in dispute while one is left; each part is a whole of its own."""
    monkeypatch.setattr("sealwright_licensing.operations.metering.MOST_SETTLED", 2)
    metered.report(metered.writer.next())
    wiped = second_chain(metered)
    metered.report(*(wiped.next(rows=[usage_row(requests=10**number)]) for number in range(1, 6)))

    def standing() -> tuple[int, bool, int]:
        with metered.world.store.read() as transaction:
            chain = transaction.get(MeteringChain, wiped.device_id, wiped.chain_id)
        assert chain is not None
        return metered.requests(), chain.disputed, chain.sequence

    assert settle(metered, wiped, count=True) == (2, 3)
    assert standing() == (110_001, True, 5), "the newest first"
    assert settle(metered, wiped, count=False) == (2, 1)
    assert standing() == (110_001, True, 5)
    metered.report(wiped.next(rows=[usage_row(requests=5)]))
    assert standing() == (110_001, True, 6), "what comes meanwhile is disputed like the rest"
    assert settle(metered, wiped, count=True) == (2, 0)
    assert standing() == (110_016, False, 6)
    assert disputed_lines(metered.world.store.engine, metered.query) == 0
    metered.report(wiped.next())
    assert standing() == (110_017, False, 7)


def test_what_is_settled_is_read_from_the_database_and_nothing_else(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a chain with many receipts the disputed ones, and each line of usage once."""
    metered.report(*(metered.writer.next() for _ in range(5)))
    copy = forked(metered)
    read: list[str] = []
    record = _SqlTransaction._record

    def count(self: _SqlTransaction, kind: type[Any], row: Any) -> Any:
        read.append(kind.__name__)
        return record(self, kind, row)

    monkeypatch.setattr(_SqlTransaction, "_record", count)
    assert settle(metered, copy, count=True) == (2, 0)
    assert (read.count("MeteringReceipt"), read.count("MeteringUsage")) == (2, 4), read


def test_a_chain_that_does_not_exist_cannot_be_settled(metered: Metered) -> None:
    denied(RejectionCode.METERING_CHAIN, lambda: settle(metered, ChainWriter(), count=True))


def second_chain(metered: Metered) -> ChainWriter:
    first = metered.writer
    return ChainWriter(first.device_id, metered.box.license_.license_id, "ee" * 16, first.at, first.opened_at)


def test_a_second_chain_without_an_enrolment_is_disputed(metered: Metered) -> None:
    metered.report(metered.writer.next())
    wiped = second_chain(metered)
    assert [one.code for one in metered.report(wiped.next()).findings] == [RejectionCode.METERING_FORK]
    metered.report(wiped.next())
    assert metered.requests() == 1
    with metered.world.store.read() as transaction:
        assert transaction.count(MeteringChain, disputed=True) == 1
    settle(metered, wiped, count=True)
    metered.report(wiped.next())
    assert metered.requests() == 4


def test_an_enrolment_allows_a_new_chain(metered: Metered) -> None:
    """The volume was wiped, the device retired and enrolled anew: known, and no alarm."""
    metered.report(metered.writer.next())
    retire_device(metered.world.store, OPERATOR, metered.box.device.device_id, now=NOW)
    metered.box.license_, (code,) = metered.world.issue()
    metered.world.enroll(metered.box.device, code)
    metered.report(second_chain(metered).next())
    metered.report(metered.writer.next())  # the rest of the old one, under the old licence
    assert metered.alarm_codes() == []
    by_license = totals(metered.world.store.engine, metered.query, "license_id")
    assert sorted(one["requests"] for one in by_license.values()) == [1, 2]


def test_a_chain_under_a_licence_that_is_not_the_devices_is_disputed(metered: Metered) -> None:
    wrong = replace(metered.writer, license_id="license-x")
    assert [one.code for one in metered.report(wrong.next()).findings] == [RejectionCode.METERING_FORK]
    assert metered.requests() == 0


def test_alarms_of_one_device_are_bounded(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "MOST_ALARMS", 6)
    monkeypatch.setattr(metering, "KEPT_ALARMS", 4)
    for number in range(9):
        metered.world.now += 1
        metered.report(metered.writer.copy().next(previous=f"{number:064x}", sequence=2))
    assert 4 <= len(metered.alarm_codes()) <= 6


# --- months, exports, commands ----------------------------------------------------------------------------------------
