"""The binding record: old or new after a power cut, and nothing but our own error whatever the disk holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_appliance.binding import (
    CONTENT_LIMIT,
    LAST_SEQUENCE,
    SLOT_SIZE,
    Slot,
    StateBinding,
    load_binding,
    parse_slot,
    slot_bytes,
    slot_size,
    store_binding,
)
from sealwright_appliance.files import overwrite, read_at
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.wire.withdrawal import Withdrawal

HEAD = 68


def record(text: str) -> StateBinding:
    """A record that can be told from others."""
    return StateBinding(
        version=1,
        srk_name="000b" + "5a" * 32,
        customer_key="-----BEGIN PUBLIC KEY-----\n",
        public=text.encode(),
        private=b"",
        approvals=[],
        pending_header=None,
    )


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """The partition as it leaves the build."""
    path = tmp_path / "binding"
    with path.open("wb") as file:
        file.truncate(2 * SLOT_SIZE)
    return path


def test_a_new_partition_holds_no_record(device: Path) -> None:
    assert load_binding(device) is None


def test_the_newest_record_counts_and_the_one_before_it_stays(device: Path) -> None:
    """Slots are written in turn."""
    for number in range(1, 5):
        store_binding(device, record(f"{number}"))
        assert load_binding(device) == record(f"{number}")
    newest = 0  # sequence 4
    overwrite(device, newest * SLOT_SIZE, bytes(HEAD))
    assert load_binding(device) == record("3")


OLD, NEW = record("old"), record("new" * 400)
PLACES = (0, SLOT_SIZE)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), earlier=st.integers(0, 3))
def test_a_write_cut_off_anywhere_leaves_the_old_record_or_the_new(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, earlier: int
) -> None:
    """Any prefix of it, and any choice of its sectors, for a disk that writes them in its own order."""
    device = tmp_path_factory.getbasetemp() / "cut"
    device.write_bytes(b"")
    for _ in range(earlier):
        store_binding(device, OLD)
    size = HEAD + len(NEW.model_dump_json())
    before = [read_at(device, place, size).ljust(size, b"\0") for place in PLACES]
    store_binding(device, NEW)
    after = [read_at(device, place, size).ljust(size, b"\0") for place in PLACES]
    written = 0 if before[0] != after[0] else 1
    assert before[1 - written] == after[1 - written]
    torn = bytearray(before[written])
    if data.draw(st.booleans(), label="prefix"):
        pieces = [slice(0, data.draw(st.integers(0, size), label="cut"))]
    else:
        sectors = data.draw(st.sets(st.integers(0, size // 512)), label="sectors")
        pieces = [slice(sector * 512, sector * 512 + 512) for sector in sectors]
    for piece in pieces:
        torn[piece] = after[written][piece]
    overwrite(device, PLACES[written], bytes(torn))
    assert load_binding(device) in ((OLD if earlier else None), NEW)
    store_binding(device, NEW)
    assert load_binding(device) == NEW


@pytest.mark.parametrize("offset", [0, 23, 24, 31, 32, 35, 36, 67, 68, 90])
def test_a_changed_byte_makes_a_slot_malformed(offset: int) -> None:
    slot = bytearray(slot_bytes(Slot(1, b"content" * 8)))
    slot[offset] ^= 1
    with pytest.raises(FormatError):
        parse_slot(bytes(slot), 1)


def test_a_slot_in_the_other_place_is_malformed() -> None:
    """So two slots never have one sequence."""
    slot = slot_bytes(Slot(2, b"content"))
    assert parse_slot(slot, 0) == Slot(2, b"content")
    with pytest.raises(FormatError):
        parse_slot(slot, 1)


@pytest.mark.parametrize("slot", [Slot(0, b"x"), Slot(LAST_SEQUENCE + 1, b"x"), Slot(2, b"")])
def test_numbers_out_of_range_are_malformed(slot: Slot) -> None:
    with pytest.raises(FormatError):
        slot_size(slot_bytes(slot)[:HEAD])


def test_a_length_beyond_the_limit_is_not_read() -> None:
    head = bytearray(slot_bytes(Slot(1, b"x"))[:HEAD])
    head[32:36] = (CONTENT_LIMIT + 1).to_bytes(4, "big")
    with pytest.raises(FormatError):
        slot_size(bytes(head))


def test_the_last_sequence_is_the_last(device: Path) -> None:
    """Somebody wrote it there; what cannot be followed is not written over."""
    place = LAST_SEQUENCE % 2
    overwrite(device, place * SLOT_SIZE, slot_bytes(Slot(LAST_SEQUENCE, record("x").model_dump_json().encode())))
    with pytest.raises(OperationError, match="another record"):
        store_binding(device, record("y"))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), place=st.integers(0, 1))
def test_noise_is_refused(data: bytes, place: int) -> None:
    for attempt in (lambda: slot_size(data), lambda: parse_slot(data, place)):
        with pytest.raises(FormatError):
            attempt()


@settings(max_examples=200, deadline=None)
@given(content=st.one_of(st.binary(min_size=1, max_size=300), st.text(min_size=1).map(str.encode)))
def test_a_slot_that_holds_no_record_is_said(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A whole slot that somebody made, with any content."""
    device = tmp_path_factory.getbasetemp() / "made"
    device.write_bytes(bytes(SLOT_SIZE) + slot_bytes(Slot(1, content)))
    with pytest.raises(FormatError):
        load_binding(device)


def test_a_disk_that_forgets_is_noticed(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is read back."""
    monkeypatch.setattr(os, "pwrite", lambda _, content, __: len(content))
    with pytest.raises(OperationError, match="does not keep"):
        store_binding(device, OLD)


def test_a_partition_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be read"):
        load_binding(tmp_path / "none")
    with pytest.raises(OperationError, match="cannot be written"):
        overwrite(tmp_path / "none", 0, b"x")


def test_a_record_without_withdrawals_says_nothing_of_them(device: Path) -> None:
    """An image that does not know the field reads it; with one it must not, or it would take the approval again."""
    store_binding(device, OLD)
    assert b"withdrawals" not in device.read_bytes()
    order = Withdrawal(volume_id="0" * 64, release_id="1" * 64, signature=b"")
    with_one = OLD.model_copy(update={"withdrawals": [order]})
    store_binding(device, with_one)
    assert load_binding(device) == with_one
