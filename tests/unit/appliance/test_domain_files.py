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

CONTENT = bytes(FRAME_SIZE) + b"rest"
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
    return DomainFiles(tmp_path / "domains")


def test_a_volume_that_fills_up_meanwhile_takes_no_further_frame(
    files: DomainFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases have to be stored, whatever else was begun at the same time."""
    incoming = files.incoming(IDS[0], described(flow_id=IDS[0]))
    incoming.append(0, CONTENT[:FRAME_SIZE])
    monkeypatch.setattr(domain_files, "KEPT_FREE", 2**62)
    with pytest.raises(FlowError) as caught:
        incoming.append(1, CONTENT[FRAME_SIZE:])
    assert (caught.value.status, caught.value.code) == (507, "NO_ROOM")
    assert incoming.next_frame == 1
    monkeypatch.undo()
    incoming.append(1, CONTENT[FRAME_SIZE:])
    incoming.verify()


def test_what_came_of_other_flows_is_dropped_and_imports_stay(files: DomainFiles) -> None:
    older, newer = (files.incoming(one, described(flow_id=one)) for one in IDS)
    imported = files.incoming("import-1", described(name="own.csv"))
    for one in (older, newer, imported):
        one.append(0, CONTENT[:FRAME_SIZE])
    files.drop_half_received({IDS[1]})
    assert [one.next_frame for one in (older, newer, imported)] == [0, 1, 1]
    assert not older.folder.exists()


def test_a_place_that_was_taken_meanwhile_is_refused_before_anything_is_recorded(files: DomainFiles) -> None:
    first, second = (files.incoming(one, described(flow_id=one)) for one in IDS)
    first.require_place()
    first.put_in_place()
    with pytest.raises(FlowError, match="already"):
        second.require_place()
