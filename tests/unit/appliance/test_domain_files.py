"""Files of domains that are being written: the room that stays free, what is given up, what is never overwritten."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.flows import domain_files
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.errors import FlowError
from sealwright_policies.flows.content import FRAME_SIZE
from sealwright_policies.flows.documents import FileKind
from sealwright_testing.laid_files import SEALS, files_of, text_of

CONTENT = bytes(FRAME_SIZE) + b"rest"
TEXT = text_of("training")
IDS = ("0a" * 16, "0b" * 16)


def described(**changes: Any) -> DomainFile:
    """A file of two frames."""
    fields: dict[str, Any] = {
        "version": 1, "domain": "training", "kind": FileKind.DATA_SET, "name": "cohort-7.csv",
        "digest": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT), "at": 0,
    }  # fmt: skip
    return DomainFile(**(fields | changes))


@pytest.fixture
def files(tmp_path: Path) -> DomainFiles:
    """None yet."""
    return files_of(tmp_path / "domains", "training")


def test_a_volume_that_fills_up_meanwhile_takes_no_further_frame(
    files: DomainFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases have to be stored, whatever else was begun at the same time."""
    incoming = files.incoming(IDS[0], described(flow_id=IDS[0]), TEXT)
    incoming.append(0, CONTENT[:FRAME_SIZE])
    monkeypatch.setattr(domain_files, "KEPT_FREE", 2**62)
    with pytest.raises(FlowError) as caught:
        incoming.append(1, CONTENT[FRAME_SIZE:])
    assert (caught.value.status, caught.value.code) == (507, "NO_ROOM")
    assert incoming.next_frame == 1
    monkeypatch.undo()
    incoming.append(1, CONTENT[FRAME_SIZE:])
    incoming.verify()


@pytest.mark.parametrize(("limit", "value"), [("KEPT_INODES", 2**62), ("FILES_MOST", 2)])
def test_files_that_only_begin_leave_room_for_others(
    files: DomainFiles, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """Each takes inodes, though it has no content; what is closed or begun counts with the rest."""
    for one in ("a", "b"):
        files.incoming(f"import-{one}", described(name=one, size=0), TEXT)
    monkeypatch.setattr(domain_files, limit, value)
    with pytest.raises(FlowError) as caught:
        files.incoming("import-c", described(name="c", size=0), TEXT)
    assert (caught.value.status, caught.value.code) == (507, "NO_ROOM")
    assert len(files.begun()) == 2
    files.incoming("import-a", described(name="a", size=0), TEXT)  # goes on


def test_what_came_of_other_flows_is_dropped_and_imports_stay(files: DomainFiles) -> None:
    older, newer = (files.incoming(one, described(flow_id=one), TEXT) for one in IDS)
    imported = files.incoming("import-1", described(name="own.csv"), TEXT)
    for one in (older, newer, imported):
        one.append(0, CONTENT[:FRAME_SIZE])
    files.drop_half_received({IDS[1]})
    assert [one.next_frame for one in (older, newer, imported)] == [0, 1, 1]
    assert not older.folder.exists()


def test_a_place_that_was_taken_meanwhile_is_refused_before_anything_is_recorded(files: DomainFiles) -> None:
    first, second = (files.incoming(one, described(flow_id=one), TEXT) for one in IDS)
    first.append(0, CONTENT[:FRAME_SIZE])
    first.append(1, CONTENT[FRAME_SIZE:])
    first.require_place()
    first.put_in_place()
    with pytest.raises(FlowError, match="already"):
        second.require_place()


def test_a_file_is_hashed_as_it_comes_and_nothing_is_read_again(files: DomainFiles) -> None:
    incoming = files.incoming(IDS[0], described(flow_id=IDS[0]), TEXT)
    incoming.append(0, CONTENT[:FRAME_SIZE])
    incoming.append(1, CONTENT[FRAME_SIZE:])
    assert incoming.digest.size == len(CONTENT)
    again = files.incoming(IDS[0], described(flow_id=IDS[0]), TEXT)
    assert again.digest is incoming.digest
    again.verify()


def test_what_a_restart_has_left_is_hashed_piece_by_piece(files: DomainFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_files, "CHECKED_AT_ONCE", FRAME_SIZE)
    content = bytes(2 * FRAME_SIZE) + b"rest"
    file = described(flow_id=IDS[0], size=len(content), digest=hashlib.sha256(content).hexdigest())
    before = files.incoming(IDS[0], file, TEXT)
    for number in range(2):
        before.append(number, content[number * FRAME_SIZE : (number + 1) * FRAME_SIZE])
    after = DomainFiles(files.root, SEALS).incoming(IDS[0], file, TEXT)
    after.append(2, b"rest")
    assert after.digest.size == 0
    with pytest.raises(FlowError) as caught:
        after.verify()
    assert caught.value.code == "FLOW_UNCHECKED"
    assert after.check() == 2 * FRAME_SIZE
    assert after.check() == len(content)
    after.verify()


def test_of_what_was_dropped_no_digest_is_left(files: DomainFiles) -> None:
    wrong = files.incoming(IDS[0], described(flow_id=IDS[0]), TEXT)
    wrong.append(0, b"x" * FRAME_SIZE)
    wrong.append(1, b"rest")
    with pytest.raises(FlowError, match="not the file"):
        wrong.verify()
    right = files.incoming(IDS[0], described(flow_id=IDS[0]), TEXT)
    right.append(0, CONTENT[:FRAME_SIZE])
    right.append(1, CONTENT[FRAME_SIZE:])
    right.verify()
