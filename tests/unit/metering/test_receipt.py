"""The receipt: one encoding, limits, what the vendor sees of a key; the report's receipts and head."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.metering.receipt import (
    OTHER_KEYS,
    RECEIPT_LIMIT,
    ROWS_MOST,
    ModelUsage,
    SealedReceipt,
    parse_receipt,
    pseudonym,
    shown_alias,
)
from sealwright_policies.metering.report import MeteringReport, head_of, verify_receipts
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.metering import DEVICE, ChainWriter, point, usage_row

LARGEST = 2**48 - 1


def changed(sealed: SealedReceipt, **members: Any) -> bytes:
    """The receipt's JSON with other members."""
    return json.dumps(json.loads(sealed.content) | members, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_receipt_is_read_as_it_was_written() -> None:
    sealed = ChainWriter().next()
    assert parse_receipt(sealed.content) == sealed


@pytest.mark.parametrize("spelling", [b" ", b"\n"])
def test_another_spelling_of_the_same_receipt_is_malformed(spelling: bytes) -> None:
    """Or it would count a second time, under a second digest."""
    content = ChainWriter().next().content
    with pytest.raises(FormatError, match="canonical"):
        parse_receipt(content.replace(b",", b"," + spelling, 1))


@pytest.mark.parametrize(
    "members",
    [
        {"version": 2},
        {"sequence": 0},
        {"chain_id": "C0" * 16},
        {"running_ms": -1},
        {"running_ms": 2**48},
        {"closed_at": 253_402_300_800},
        {"prompt": "what is metformin?"},
        {"models": []},
        {"closed": {"reset_count": 11, "clock_ms": 9, "ticks": 9}},
        {"opened": {"reset_count": 12, "clock_ms": 1, "ticks": 2}},
    ],
    ids=",".join,
)  # fmt: skip
def test_what_is_no_receipt_is_malformed(members: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_receipt(changed(ChainWriter().next(), **members))


def test_rows_are_in_order_and_of_listed_models() -> None:
    sealed = ChainWriter().next(rows=[usage_row("a"), usage_row("b")])
    rows = json.loads(sealed.content)["rows"]
    for wrong in (rows[::-1], [rows[0], rows[0]], [rows[0] | {"model": "finance"}], [rows[0] | {"alias": "a\nb"}]):
        with pytest.raises(FormatError):
            parse_receipt(changed(sealed, rows=wrong))


def test_the_longest_receipt_is_within_its_limit() -> None:
    """As many rows and models as there may be, with the longest names and numbers."""
    names = [f"{'m' * 60}{number:04}" for number in range(64)]
    models = [ModelUsage(model=name, partition_id="0" * 64, lease_ms=LARGEST, copying_alarms=LARGEST) for name in names]
    row = usage_row(requests=LARGEST, prompt_tokens=LARGEST, completion_tokens=LARGEST, busy_ms=LARGEST)
    rows = [row.model_copy(update={"model": names[0], "alias": f"{'😀' * 60}{one:04}"}) for one in range(ROWS_MOST)]
    sealed = ChainWriter().next(models=models, rows=rows)
    assert len(sealed.content) < RECEIPT_LIMIT
    assert parse_receipt(sealed.content) == sealed


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.builds(lambda cut: ChainWriter().next().content[:cut], st.integers(0, 700)))
def test_bytes_are_a_receipt_or_malformed(content: bytes) -> None:
    with suppress(FormatError):
        parse_receipt(content)


@given(st.text(min_size=1, max_size=64), st.booleans())
def test_an_alias_is_a_pseudonym_unless_the_customer_wants_names(name: str, named: bool) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    alias = shown_alias(bytes(32), name, named=named)
    assert alias != OTHER_KEYS
    assert alias in (name, pseudonym(bytes(32), name))
    if not named:
        assert alias == pseudonym(bytes(32), name)
    parse_receipt(ChainWriter().next(rows=[usage_row(alias)]).content)


def test_pseudonyms_of_two_boxes_tell_nothing_of_each_other() -> None:
    assert pseudonym(bytes(32), "ward") != pseudonym(b"\1" * 32, "ward")
    assert pseudonym(bytes(32), "ward") != pseudonym(bytes(32), "ward 2")


# --- a report's receipts ----------------------------------------------------------------------------------------------

BOX = SyntheticBox()


def report(receipts: list[SealedReceipt], **changes: Any) -> MeteringReport:
    payload = changes.pop("payload", document_bytes(head_of(receipts)))
    members: dict[str, Any] = {
        "device_id": DEVICE,
        "license_id": "license-1",
        "release_id": "0" * 64,
        "nonce": bytes(32),
        "receipts": [one.content for one in receipts],
        "evidence": BOX.evidence(payload=payload),
    }
    return MeteringReport(**(members | changes))


def three() -> list[SealedReceipt]:
    writer = ChainWriter()
    return [writer.next(), writer.next(), writer.next()]


def test_receipts_that_follow_each_other_are_taken_from_anywhere_in_the_chain() -> None:
    receipts = three()
    assert verify_receipts(report(receipts)) == tuple(receipts)
    assert verify_receipts(report(receipts[1:])) == tuple(receipts[1:])


def broken(receipts: list[SealedReceipt], **changes: Any) -> None:
    denied(RejectionCode.METERING_CHAIN, lambda: verify_receipts(report(receipts, **changes)))


def test_receipts_that_do_not_follow_each_other_are_denied() -> None:
    receipts = three()
    broken([receipts[0], receipts[2]])
    broken(receipts[::-1])
    broken([receipts[0], receipts[0]])
    writer = ChainWriter()
    first = writer.next()
    broken([first, writer.next(previous="00" * 32)])
    writer = ChainWriter()
    broken([writer.next(), writer.next(opened=point(1, ticks=1))])


def test_a_receipt_that_was_changed_breaks_the_chain_behind_it() -> None:
    receipts = three()
    forged = parse_receipt(changed(receipts[0], running_ms=1))
    broken([forged, *receipts[1:]], payload=document_bytes(head_of(receipts)))


def test_the_attested_head_is_the_last_receipt() -> None:
    receipts = three()
    broken(receipts, payload=document_bytes(head_of(receipts[:2])))


def test_receipts_of_another_device_are_denied() -> None:
    broken(three(), device_id="e" * 52)


def test_only_the_first_receipt_begins_a_chain() -> None:
    broken([ChainWriter().next(previous="00" * 32)])
    writer = ChainWriter()
    start = writer.next().receipt.previous
    broken([writer.next(previous=start)])


def test_a_head_that_is_none_is_malformed() -> None:
    with pytest.raises(FormatError):
        verify_receipts(report(three(), payload=b"{}"))
    with pytest.raises(FormatError):
        verify_receipts(report(three(), payload=b""))
