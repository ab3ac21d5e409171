"""The box's meter: batches count once, receipts follow each other, and a power cut at any write changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.metering import box_meter, meter_store
from sealwright_appliance.metering.box_meter import MONTHLY_FROM, RECEIPTS_KEPT_MOST, BoxMeter
from sealwright_appliance.metering.journal import Batch, BatchRow
from sealwright_appliance.metering.meter_store import MeteringSettings, MeterStore
from sealwright_appliance.metering.metering_terms import load_terms
from sealwright_appliance.paths import Paths
from sealwright_policies.domains.model import Counter, Domain, Metering
from sealwright_policies.errors import OperationError, RejectionCode, UsageError
from sealwright_policies.metering.receipt import MODELS_MOST, OTHER_KEYS, ROWS_MOST, Point, SealedReceipt
from sealwright_policies.metering.report import (
    RECEIPTS_MOST,
    Acknowledgement,
    require_successor,
    sign_acknowledgement,
)
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.denials import denied
from sealwright_testing.domain_texts import domain_text, parse
from sealwright_testing.metering import ALL_TOLD, DEVICE, HOUR_MS, LICENSE, PARTITION, point

KEY = Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SERVICE = LicenseService.model_construct(**{"lease_document_key": PEM})  # type: ignore[arg-type]
"""All that the meter knows of it."""
NOVEMBER, DECEMBER = 1_795_600_000, 1_796_500_000


@dataclass
class Box:
    """A meter over a folder, and a TPM whose clock a test moves."""

    folder: Path
    now: Point = field(default_factory=lambda: point(HOUR_MS))
    today: int = NOVEMBER
    license_id: str = LICENSE
    terms: Mapping[str, Metering] = field(default_factory=lambda: {"medical": ALL_TOLD, "finance": ALL_TOLD})
    batches: int = 0
    gateway: str = "ab" * 16
    meter: BoxMeter = field(init=False)

    def __post_init__(self) -> None:
        """Switch on."""
        self.boot()

    def boot(self) -> None:
        """A new agent over what is on the disk."""
        models = {"medical": PARTITION, "finance": "f1" * 32}
        store = MeterStore(self.folder)
        self.meter = BoxMeter(store, SERVICE, DEVICE, self.license_id, models, self.terms, lambda: self.today)
        self.meter.open(self.now)

    def batch(
        self, *, number: int | None = None, key: str = "ward", model: str = "medical", requests: int = 1
    ) -> Batch:
        """The gateway's next batch."""
        self.batches += 1
        row = BatchRow(model=model, key=key, requests=1, prompt_tokens=10, completion_tokens=5, busy_ms=7)
        return Batch(gateway_id=self.gateway, number=self.batches, rows=[row])

    def close(self) -> SealedReceipt:
        """An hour later."""
        later = {"clock_ms": self.now.clock_ms + HOUR_MS, "ticks": self.now.ticks + 1}
        self.now = self.now.model_copy(update=later)
        return self.meter.close(self.now, 1)

    def acknowledge(self, sealed: SealedReceipt, **changes: Any) -> int:
        """What the service says of a receipt."""
        told: dict[str, Any] = {"version": 1, "device_id": DEVICE, "chain_id": sealed.receipt.chain_id}
        told |= {"sequence": sealed.sequence, "digest": sealed.digest, "findings": []}
        return self.meter.acknowledge(sign_acknowledgement(Acknowledgement(**(told | changes)), KEY))

    def requests(self) -> int:
        """Counted, in the open interval and in receipts that wait."""
        rows = [*self.meter.journal().rows, *(row for one in self.meter.store.receipts() for row in one.receipt.rows)]
        return sum(row.requests for row in rows)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path / "metering")


def test_a_batch_that_comes_twice_counts_once_also_after_a_boot(box: Box) -> None:
    first = box.batch()
    box.meter.take(first)
    box.meter.take(first)
    box.boot()
    box.meter.take(first)
    box.meter.take(box.batch())
    assert box.requests() == 2
    box.gateway, box.batches = "cd" * 16, 0  # it was started again, and counts its batches anew
    box.meter.take(box.batch())
    assert box.requests() == 3


def test_alarms_of_copying_are_told_whenever_they_come(box: Box) -> None:
    """Also before the TPM has said where it stands, and over a power cut."""
    store = MeterStore(box.folder)
    early = BoxMeter(store, SERVICE, DEVICE, LICENSE, {"medical": PARTITION}, box.terms, lambda: NOVEMBER)
    early.note_copying("medical")
    early.open(box.now)
    early.note_copying("medical")
    box.boot()
    assert [(one.model, one.copying_alarms) for one in box.close().receipt.models] == [("medical", 2)]
    assert box.close().receipt.models == []


def test_receipts_follow_each_other_over_boots(box: Box) -> None:
    box.meter.take(box.batch())
    first = box.close()
    box.boot()
    box.meter.take(box.batch(key="night"))
    second = box.close()
    require_successor(first, second)
    assert [row.requests for row in second.receipt.rows] == [1]
    assert box.meter.export() == [first, second]


def test_no_key_is_named_unless_the_customer_wants_it(box: Box) -> None:
    box.meter.take(box.batch())
    assert b"ward" not in (box.folder / "journal.json").read_bytes()
    box.meter.choose(MeteringSettings(names=True))
    box.meter.take(box.batch())
    assert [row.alias for row in box.meter.journal().rows] == [box.meter.journal().rows[0].alias, "ward"]
    assert box.meter.aliases(["ward"]) == {"ward": "ward"}


def test_what_a_domain_does_not_let_be_told_is_not_counted(tmp_path: Path) -> None:
    """Neither of the use nor, by key, of who: it never lies on the disk, and the customer sees what the vendor will."""
    terms = {"medical": Metering(counters=(Counter.REQUESTS, Counter.BUSY_MS)), "finance": Metering()}
    box = Box(tmp_path / "metering", terms=terms)
    box.meter.choose(MeteringSettings(names=True))
    for key in ("ward", "night"):
        box.meter.take(box.batch(key=key))
    box.meter.take(box.batch(model="finance"))
    box.meter.pass_time(1000, ["medical", "finance"])
    assert "ward" not in "".join(path.read_text() for path in box.folder.rglob("*.json"))
    ((day,),) = [one.rows for one in box.meter.days()[1]]
    assert (day.model, day.key, day.requests, day.prompt_tokens) == ("medical", OTHER_KEYS, 2, 0)
    assert box.meter.aliases(["ward"]) == {}
    receipt = box.close().receipt
    (row,) = receipt.rows
    assert (row.model, row.alias, row.requests, row.busy_ms) == ("medical", OTHER_KEYS, 2, 14)
    assert (row.prompt_tokens, row.completion_tokens) == (0, 0)
    assert [(one.model, one.lease_ms) for one in receipt.models] == [("medical", 0)]
    assert receipt.running_ms == 1000


def test_a_batch_of_which_nothing_is_told_is_taken_all_the_same(tmp_path: Path) -> None:
    box = Box(tmp_path / "metering", terms={})
    box.meter.take(box.batch())
    box.boot()
    assert [mark.number for mark in box.meter.journal().gateways] == [1]
    assert box.meter.journal().rows == []


def test_time_of_a_lease_is_told_without_a_row(tmp_path: Path) -> None:
    box = Box(tmp_path / "metering", terms={"medical": Metering(counters=(Counter.LEASE_MS,), by_key=True)})
    box.meter.take(box.batch())
    box.meter.pass_time(1000, ["medical"])
    receipt = box.close().receipt
    assert (receipt.rows, [(one.model, one.lease_ms) for one in receipt.models]) == ([], [("medical", 1000)])


class Root(OwnDomains):
    """A root with these domains."""

    def names(self) -> list[str]:
        return ["medical", "training"]

    def load(self, name: str) -> Domain:
        more = {
            "medical": '\n[[member]]\nkind = "model"\nid = "medical"\n'
            '\n[metering]\ncounters = ["requests"]\nby_key = true\n',
            "training": '\n[[member]]\nkind = "adapter"\nid = "tuned"\nbase = "medical"\n\n'
            '[[member]]\nkind = "data-set"\nid = "cases"\n',
        }
        return parse(domain_text(name, more=more[name])).domain


def test_the_terms_of_a_model_or_adapter_are_those_of_its_own_domain(tmp_path: Path) -> None:
    terms = load_terms(Root(Paths(root=tmp_path)))
    assert terms == {"medical": Metering(counters=(Counter.REQUESTS,), by_key=True), "tuned": Metering()}


def test_time_is_counted_for_the_models_that_were_served(box: Box) -> None:
    box.meter.pass_time(1000, ["medical"])
    box.meter.pass_time(500, [])
    sealed = box.close()
    assert sealed.receipt.running_ms == 1500
    assert [(one.model, one.lease_ms) for one in sealed.receipt.models] == [("medical", 1000)]


def test_a_model_that_the_release_does_not_have_is_no_row(box: Box) -> None:
    with pytest.raises(UsageError):
        box.meter.take(box.batch(model="other"))


def test_a_meter_that_is_not_open_takes_nothing(tmp_path: Path) -> None:
    """The gateway keeps its batch and sends it again."""
    meter = BoxMeter(MeterStore(tmp_path), SERVICE, DEVICE, LICENSE, {"medical": PARTITION}, {})
    with pytest.raises(OperationError):
        meter.take(Batch(gateway_id="ab" * 16, number=1, rows=[]))


def test_keys_beyond_the_last_row_are_counted_together(box: Box) -> None:
    most = ROWS_MOST - MODELS_MOST
    rows = [
        BatchRow(model="medical", key=f"key {number}", requests=1, prompt_tokens=0, completion_tokens=0, busy_ms=0)
        for number in range(most + 10)
    ]
    box.meter.take(Batch(gateway_id=box.gateway, number=1, rows=rows))
    receipt = box.close().receipt
    assert sum(row.requests for row in receipt.rows) == most + 10
    assert [row.requests for row in receipt.rows if row.alias == OTHER_KEYS] == [10]


# --- power cuts -------------------------------------------------------------------------------------------------------


class PowerCutError(Exception):
    """The box is dark."""


def cut(monkeypatch: pytest.MonkeyPatch, name: str, at: int, *, before: bool) -> None:
    """Cut the power at the at-th call of a function that changes the disk, before it or just behind it."""
    real: Callable[..., None] = getattr(meter_store, name)
    left = [at]

    def dying(*arguments: Any, **named: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and before:
            raise PowerCutError
        real(*arguments, **named)
        if left[0] == 0:
            raise PowerCutError

    monkeypatch.setattr(meter_store, name, dying)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_power_cut_at_any_write_counts_everything_once(
    box: Box, monkeypatch: pytest.MonkeyPatch, write: int, before: bool
) -> None:
    """A batch, then the closing of a receipt: three writes. The gateway sends the batch again if it heard nothing."""
    box.meter.take(box.batch())
    batch = box.batch()

    def take_and_close() -> None:
        box.meter.take(batch)
        box.close()

    with monkeypatch.context() as cutting:
        cut(cutting, "write_durably", write, before=before)
        with pytest.raises(PowerCutError):
            take_and_close()
    box.boot()
    box.meter.take(batch)
    assert box.requests() == 2
    box.close()
    receipts = box.meter.export()
    for one, other in itertools.pairwise(receipts):
        require_successor(one, other)
    assert sum(row.requests for one in receipts for row in one.receipt.rows) == 2


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("removal", [1, 2, 3])
def test_a_power_cut_while_receipts_are_dropped_leaves_the_end_of_the_chain(
    box: Box, monkeypatch: pytest.MonkeyPatch, removal: int, before: bool
) -> None:
    receipts = [box.close() for _ in range(3)]
    with monkeypatch.context() as cutting:
        cut(cutting, "remove_durably", removal, before=before)
        with pytest.raises(PowerCutError):
            box.acknowledge(receipts[-1])
    box.boot()
    left = box.meter.export()
    assert left == receipts[3 - len(left) :]
    assert box.acknowledge(receipts[-1]) == len(left)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["take", "again", "close", "boot", "acknowledge", "cut"]), max_size=25))
def test_whatever_happens_each_request_is_in_one_receipt(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Batches, repetitions, receipts, boots, acknowledgements and power cuts in any order."""
    box = Box(tmp_path_factory.mktemp("box") / "metering")
    acknowledged = taken = 0
    last = box.batch()
    for step in steps:
        if step == "take":
            last = box.batch()
            box.meter.take(last)
            taken += 1
        elif step == "again" and taken:
            box.meter.take(last)
        elif step == "close":
            box.close()
        elif step == "boot":
            box.boot()
        elif step == "acknowledge" and box.meter.export():
            sent = box.meter.export()
            acknowledged += sum(row.requests for one in sent for row in one.receipt.rows)
            box.acknowledge(sent[-1])
        elif step == "cut":
            with pytest.MonkeyPatch.context() as cutting:
                cut(cutting, "write_durably", 2, before=True)
                with pytest.raises(PowerCutError):
                    box.close()
            box.boot()
    assert acknowledged + box.requests() == taken


# --- acknowledgements -------------------------------------------------------------------------------------------------


def test_a_receipt_is_dropped_only_by_the_services_word_about_it(box: Box) -> None:
    """A forged acknowledgement would make counts vanish."""
    first, second = box.close(), box.close()
    denied(RejectionCode.METERING_CHAIN, lambda: box.acknowledge(second, digest="00" * 32))
    denied(RejectionCode.METERING_CHAIN, lambda: box.acknowledge(second, device_id="e" * 52))
    assert box.acknowledge(second, chain_id="00" * 16) == 0
    assert box.acknowledge(second, sequence=3) == 0
    told = Acknowledgement(version=1, device_id=DEVICE, chain_id=first.receipt.chain_id, sequence=2,
                           digest=second.digest, findings=[])  # fmt: skip
    forged = sign_acknowledgement(told, Ed25519PrivateKey.generate())
    denied(RejectionCode.DOCUMENT_SIGNATURE, lambda: box.meter.acknowledge(forged))
    assert box.meter.export() == [first, second]
    assert box.acknowledge(first) == 1
    assert box.meter.export() == [second]
    assert box.acknowledge(first) == 0


# --- when receipts are closed, and when chains begin ------------------------------------------------------------------


def test_a_receipt_is_closed_for_a_report_by_the_day_or_by_the_month(box: Box) -> None:
    assert box.meter.close_due(reporting=True)
    assert not box.meter.close_due(reporting=False)
    box.close()
    assert not box.meter.close_due(reporting=True)  # the first has to go before
    box.meter.pass_time(24 * HOUR_MS, [])
    assert box.meter.close_due(reporting=True)
    box.close()
    assert not box.meter.close_due(reporting=False)
    box.today = DECEMBER
    assert box.meter.close_due(reporting=False)


def test_a_backlog_grows_coarser_and_drops_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_meter, "MONTHLY_FROM", 2)
    monkeypatch.setattr(box_meter, "RECEIPTS_KEPT_MOST", 3)
    assert MONTHLY_FROM < RECEIPTS_KEPT_MOST
    for _ in range(2):
        box.meter.take(box.batch())
        box.close()
    box.meter.take(box.batch())
    box.meter.pass_time(24 * HOUR_MS, [])
    assert not box.meter.close_due(reporting=True)
    box.today = DECEMBER
    assert box.meter.close_due(reporting=True)
    box.close()
    box.meter.take(box.batch())
    box.today = NOVEMBER
    assert not box.meter.close_due(reporting=True)
    assert box.requests() == 4


def test_a_report_holds_no_more_than_it_may(box: Box) -> None:
    receipts = [box.close() for _ in range(RECEIPTS_MOST + 1)]
    assert box.meter.export() == receipts[:-1]


def test_another_licence_begins_a_chain_and_loses_nothing(box: Box) -> None:
    box.meter.take(box.batch())
    old = box.close()
    box.meter.take(box.batch())
    box.license_id = "license-2"
    box.boot()
    new = box.close()
    assert (new.receipt.license_id, new.sequence, new.receipt.rows[0].requests) == ("license-2", 1, 1)
    assert box.meter.export() == [old]
    box.acknowledge(old)
    assert box.meter.export() == [new]


@pytest.mark.parametrize("at_boot", [True, False])
def test_a_cleared_tpm_begins_a_chain_and_loses_nothing(box: Box, at_boot: bool) -> None:
    """Its clock and resets begin at zero, so the old chain's points do not go on. Found at a boot, or amid one."""
    box.meter.take(box.batch())
    box.now = point(0, resets=0, ticks=9)
    if at_boot:
        box.boot()
    sealed = box.close()
    assert (sealed.sequence, sealed.receipt.rows[0].requests) == (1, 1)


def test_a_journal_that_cannot_be_read_begins_a_chain(box: Box) -> None:
    """The box goes on; the service finds a second chain and asks why."""
    old = box.close()
    (box.folder / "journal.json").write_bytes(b"{")
    box.boot()
    new = box.close()
    assert new.sequence == 1
    assert new.receipt.chain_id != old.receipt.chain_id
