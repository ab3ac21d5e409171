"""Conversations on the state volume: kept where all domains let them, for their days; gone when deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealwright_appliance import conversations as module
from sealwright_appliance.api_keys import ApiKeyError, ApiKeys
from sealwright_appliance.conversations import Conversations, Sealed
from sealwright_appliance.files import write_durably
from sealwright_appliance.retention_calendar import RetentionCalendar
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes

OWNER, OTHER = "0a" * 32, "0b" * 32
ID, ID2 = "1a" * 16, "1b" * 16
DAY = 86_400
CANARY = b"sealed-canary-of-a-patient"


class PowerCutError(Exception):
    """The machine is off."""


@dataclass
class Box:
    """The keeper, and what it goes by."""

    root: Path
    days: dict[str, int] = field(default_factory=lambda: {"finance": 7, "clinic": 90, "medical": 0})

    def __post_init__(self) -> None:
        self.keys = ApiKeys(self.root / "api-keys.json")
        self.keys.create("ward", admin=False)
        self.kept = Conversations(
            self.root / "conversations", self.keys, lambda: self.days, self.root / "calendar.json", lambda: 1000
        )

    @property
    def key(self) -> str:
        return self.keys.load().keys[0].sha256

    def at(self, seconds: int) -> None:
        """Set the calendar."""
        write_durably(self.root / "calendar.json", document_bytes(RetentionCalendar(version=1, at=seconds, clock_ms=0)))

    def store(
        self, *models: str, owner: str = OWNER, name: str = ID, content: bytes = CANARY, new: bool = True
    ) -> module.Kept:
        return self.kept.store(owner, self.key, Sealed(name, list(models), b"title", content), new=new)

    def raw(self) -> bytes:
        """All bytes of all files, and all names."""
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return b"\n".join(path.name.encode() + b"\n" + path.read_bytes() for path in paths)

    def files(self) -> list[Path]:
        return [path for path in (self.root / "conversations").rglob("*") if path.is_file()]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    made = Box(tmp_path)
    made.at(10 * DAY)
    return made


def code(caught: pytest.ExceptionInfo[ApiKeyError]) -> tuple[int, str]:
    return caught.value.status, caught.value.code


def test_what_is_kept_is_read_again(box: Box) -> None:
    kept = box.store("finance")
    assert kept.left_s == 7 * DAY
    assert [one.conversation_id for one in box.kept.of(OWNER)] == [ID]
    assert box.kept.read(OWNER, ID)[1] == CANARY
    box.store("finance", content=b"two\nlines", new=False)
    assert box.kept.read(OWNER, ID)[1] == b"two\nlines"


@pytest.mark.parametrize("models", [("medical",), ("finance", "medical"), ("elsewhere",), ("finance", "elsewhere")])
def test_where_one_domain_keeps_nothing_nothing_reaches_the_disk(box: Box, models: tuple[str, ...]) -> None:
    with pytest.raises(ApiKeyError) as caught:
        box.store(*models)
    assert code(caught) == (403, "PROMPTS_NOT_KEPT")
    assert box.files() == []
    assert CANARY not in box.raw()


def test_a_kept_one_stays_as_it_was_when_a_model_joins_that_keeps_nothing(box: Box) -> None:
    box.store("finance")
    with pytest.raises(ApiKeyError):
        box.store("finance", "medical", content=b"what medical said", new=False)
    assert box.kept.read(OWNER, ID)[1] == CANARY


def test_the_fewest_days_hold_and_count_from_the_beginning(box: Box) -> None:
    assert box.store("clinic", "finance").left_s == 7 * DAY
    box.at(16 * DAY)
    assert box.store("clinic", "finance", new=False).left_s == DAY
    box.kept.look()
    assert len(box.files()) == 1
    box.at(17 * DAY)
    assert box.kept.of(OWNER) == []
    with pytest.raises(ApiKeyError) as caught:
        box.kept.read(OWNER, ID)
    assert code(caught) == (404, "UNKNOWN_CONVERSATION")
    with pytest.raises(ApiKeyError):
        box.store("clinic", "finance", new=False)
    box.kept.look()
    assert box.files() == []
    assert CANARY not in box.raw()


def test_before_the_calendar_begins_the_services_time_counts(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.store("finance")
    box.at(1000 + 7 * DAY - 1)
    box.kept.look()
    assert len(box.files()) == 1
    box.at(1000 + 7 * DAY)
    box.kept.look()
    assert box.files() == []


@pytest.mark.parametrize("content", [b"{}", bytes(16), bytes(4096)])
def test_a_calendar_that_is_damaged_is_none(box: Box, content: bytes) -> None:
    """The service's time counts for what is shown. That may be wrong: nothing goes until there is a calendar."""
    box.store("finance")
    (box.root / "calendar.json").write_bytes(content)
    box.kept.service_time = lambda: 17 * DAY - 1
    box.kept.look()
    assert [one.left_s for one in box.kept.of(OWNER)] == [1]
    assert box.store("finance", name=ID2).left_s == 7 * DAY
    box.kept.service_time = lambda: 17 * DAY
    box.kept.look()
    assert [one.conversation_id for one in box.kept.of(OWNER)] == [ID2]
    assert len(box.files()) == 2
    box.at(17 * DAY)
    box.kept.look()
    assert [path.name for path in box.files()] == [ID2]


def test_a_model_is_missed_in_a_start_that_is_unlocked_alone(box: Box) -> None:
    """Another may know less of the release; what it knows still counts."""
    box.store("finance", "clinic")
    box.store("clinic", name=ID2)
    del box.days["finance"]
    box.kept.is_unlocked = lambda: False
    box.kept.look()
    assert len(box.files()) == 2
    assert [one.conversation_id for one in box.kept.of(OWNER)] == [ID2]
    box.at(100 * DAY)
    box.store("clinic", name="1c" * 16)
    box.kept.look()
    assert [path.name for path in box.files()] == ["1c" * 16]
    box.days.clear()
    box.kept.look()
    assert len(box.files()) == 1
    box.kept.is_unlocked = lambda: True
    box.kept.look()
    assert box.files() == []


def test_what_cannot_be_removed_keeps_no_other(box: Box) -> None:
    box.store("finance", name=ID)
    box.store("finance", name=ID2)
    for name in ("0a" * 16, "ff" * 16):
        (box.root / "conversations" / OWNER / name).mkdir()
    box.at(17 * DAY)
    with pytest.raises(OperationError, match="cannot be reached"):
        box.kept.look()
    assert box.files() == []


def test_a_domain_that_keeps_nothing_any_more_takes_what_is_there(box: Box) -> None:
    box.store("finance")
    box.days["finance"] = 0
    assert box.kept.of(OWNER) == []
    box.kept.look()
    assert box.files() == []


def test_another_owner_has_none_of_it(box: Box) -> None:
    box.store("finance")
    assert box.kept.of(OTHER) == []
    for act in (
        lambda: box.kept.read(OTHER, ID),
        lambda: box.kept.remove(OTHER, ID),
        lambda: box.store("finance", owner=OTHER, new=False),
    ):
        with pytest.raises(ApiKeyError) as caught:
            act()
        assert code(caught) == (404, "UNKNOWN_CONVERSATION")
    assert box.kept.remove(OTHER) == 0
    assert len(box.kept.of(OWNER)) == 1


def test_with_its_key_a_conversation_goes(box: Box) -> None:
    box.store("finance")
    box.keys.create("administrator", admin=True)
    box.keys.revoke("ward")
    box.kept.look()
    assert box.files() == []
    with pytest.raises(ApiKeyError) as caught:
        box.kept.store(OWNER, "5e" * 32, Sealed(ID, ["finance"], b"", b""), new=True)
    assert code(caught) == (403, "UNKNOWN_API_KEY")


def test_deleted_is_overwritten_then_gone(box: Box) -> None:
    """Somebody who holds the file open sees what is left on the disk: zeros."""
    box.store("finance")
    box.store("finance", name=ID2)
    with box.files()[0].open("rb") as first, box.files()[1].open("rb") as second:
        assert box.kept.remove(OWNER, ID) == 1
        assert box.kept.remove(OWNER) == 1
        assert not any(first.read() + second.read())
    assert box.files() == []
    assert not any((box.root / "conversations").iterdir())
    assert CANARY not in box.raw()


def test_replaced_is_overwritten(box: Box) -> None:
    box.store("finance")
    with box.files()[0].open("rb") as before:
        box.store("finance", content=b"later", new=False)
        assert not any(before.read())
    assert box.kept.read(OWNER, ID)[1] == b"later"


@pytest.mark.parametrize("what", ["half", "zeros", "unfinished", "stranger"])
def test_what_a_power_cut_leaves_goes_at_the_next_look(box: Box, what: str) -> None:
    """And is in no list meanwhile."""
    box.store("finance")
    (kept,) = box.files()
    whole = kept.read_bytes()
    {
        "half": lambda: kept.with_name(ID2).write_bytes(whole[:40]),
        "zeros": lambda: kept.with_name(ID2).write_bytes(bytes(len(whole))),
        "unfinished": lambda: kept.with_name(f".{ID2}.new").write_bytes(whole),
        "stranger": lambda: kept.with_name("notes.txt").write_bytes(b"x"),
    }[what]()
    assert [one.conversation_id for one in box.kept.of(OWNER)] == [ID]
    box.kept.look()
    assert box.files() == [kept]


@pytest.mark.parametrize("cut", ["pwrite", "fsync", "open"])
def test_a_power_cut_in_a_deletion_loses_no_other(box: Box, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    """And the next look finishes it, or the conversation is whole."""
    box.store("finance")
    box.store("finance", name=ID2, content=b"another")

    def off(*_: object) -> int:
        raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(os, cut, off)
        with pytest.raises(PowerCutError):
            box.kept.remove(OWNER, ID)
    box.kept.look()
    assert box.kept.read(OWNER, ID2)[1] == b"another"
    if len(box.files()) == 2:
        assert box.kept.read(OWNER, ID)[1] == CANARY
    assert box.kept.remove(OWNER) == len(box.files()) or box.files() == []


def test_a_key_has_so_many_and_no_more(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OF_KEY_MOST", 2)
    box.store("finance")
    box.store("finance", name=ID2)
    with pytest.raises(ApiKeyError) as caught:
        box.store("finance", name="1c" * 16)
    assert code(caught) == (409, "CONVERSATIONS_FULL")
    box.store("finance", new=False)
    box.store("finance", owner=OTHER)


@pytest.mark.parametrize(("bound", "value"), [("ALL_BYTES_MOST", 3 * 4096), ("LEFT_FREE", 1 << 62)])
def test_all_together_leave_room_for_leases(box: Box, monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    """A small file takes a block, too."""
    box.store("finance")
    box.store("finance", name=ID2)
    monkeypatch.setattr(module, bound, value)
    for name in ("1c" * 16, "1d" * 16):
        with pytest.raises(ApiKeyError) as caught:
            box.store("finance", name=name, content=bytes(4096))
    assert code(caught) == (409, "CONVERSATIONS_FULL")
    assert len(box.files()) == 2


def test_a_disk_that_refuses_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.store("finance")

    def refuse(*_: object) -> int:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OperationError, match="Input/output error"):
        box.kept.remove(OWNER, ID)
    assert box.kept.read(OWNER, ID)[1] == CANARY


def test_the_latest_comes_first(box: Box) -> None:
    box.store("finance")
    box.store("finance", name=ID2)
    os.utime(box.root / "conversations" / OWNER / ID, ns=(1, 1 << 62))
    assert [one.conversation_id for one in box.kept.of(OWNER)] == [ID, ID2]
