"""Files of domains go when their days are over, by a calendar that nobody sets back, and a record of it stays."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.files import write_durably
from sealwright_appliance.flows import retention as retention_module
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.retention import Retention
from sealwright_appliance.paths import Paths
from sealwright_appliance.retention_calendar import kept_calendar, told_time
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind
from sealwright_policies.wire.lease import DAY_S
from sealwright_testing.laid_files import files_of, text_of

ISSUED = 1_800_000_000
DAYS = {"training": 2, "brief": 0}


@dataclass
class Times:
    """A TPM's clock, and the service's."""

    clock_ms: int = 5_000_000
    service: int = ISSUED

    def run(self, days: float) -> None:
        """Let the box run."""
        self.clock_ms += int(days * DAY_S * 1000)


@pytest.fixture
def times() -> Times:
    """Of a box that has just been activated."""
    return Times()


@pytest.fixture
def files(tmp_path: Path) -> DomainFiles:
    """None yet."""
    return files_of(tmp_path / "domains", "training", "brief", "elsewhere")


def started(files: DomainFiles, times: Times, forget: Callable[[int], None] = lambda _: None) -> Retention:
    """As an agent that has been started. ``forget`` stands for the volume service, which removes results."""
    folder = files.root.parent / "retention"
    return Retention(DAYS.get, files, folder, lambda: times.clock_ms, lambda: times.service, threading.Lock(), forget)


def begun(files: DomainFiles, name: str, domain: str = "training", **changes: Any) -> Any:
    """A file that is being put in."""
    fields: dict[str, Any] = {
        "version": 1, "domain": domain, "kind": FileKind.RESULTS, "name": name, "size": 4, "at": 0,
        "digest": hashlib.sha256(b"rows").hexdigest(),
    }  # fmt: skip
    return files.incoming(f"import-{name}", DomainFile(**(fields | changes)), text_of(domain))


def put(files: DomainFiles, name: str, domain: str = "training", **changes: Any) -> None:
    """A file."""
    incoming = begun(files, name, domain, **changes)
    incoming.append(0, b"rows")
    incoming.verify()
    incoming.put_in_place()


def names(files: DomainFiles) -> list[str]:
    """What is there."""
    return [one.name for one in files.all_files()]


def test_a_file_goes_when_its_days_are_over_and_a_record_stays(files: DomainFiles, times: Times) -> None:
    """Also in a folder nobody lists; what came later stays for its own days."""
    put(files, "first")
    retention = started(files, times)
    retention.look()
    times.run(days=1)
    put(files, "second", kind=FileKind.DATA_SET)
    retention.look()
    assert names(files) == ["second", "first"]
    times.run(days=1)
    retention.look()
    assert names(files) == ["second"]
    assert [path.name for path in files.root.rglob("content")] == ["content"]
    (gone,) = retention.removed()
    assert (gone.name, gone.domain, gone.since, gone.removed_at) == ("first", "training", ISSUED, ISSUED + 2 * DAY_S)
    times.run(days=1)
    retention.look()
    assert (names(files), [one.name for one in retention.removed()]) == ([], ["first", "second"])


def test_results_of_workloads_go_by_the_same_calendar(files: DomainFiles, times: Times) -> None:
    """Also when the volume service cannot be asked the first time, and when a file cannot be removed."""
    asked: list[int] = []
    retention = started(files, times, asked.append)
    retention.look()
    times.run(days=1)
    retention.look()
    assert asked == [ISSUED, ISSUED + DAY_S]

    def refuse(now: int) -> None:
        raise OperationError("nobody answers")

    times.run(days=1)
    with pytest.raises(OperationError):
        started(files, times, refuse).look()
    retention.look()
    assert asked[2:] == [ISSUED + 2 * DAY_S]
    put(files, "first")
    (files.root / "training/results/first/since.json").mkdir()
    with pytest.raises(OperationError):
        retention.look()
    assert len(asked) == 4


def test_time_passes_through_restarts(files: DomainFiles, times: Times) -> None:
    """However short the box runs each time: the TPM's clock goes on, and no calendar of the machine is asked."""
    put(files, "first")
    for _ in range(48):
        started(files, times).look()
        times.run(days=1 / 24)
    assert names(files) == ["first"]
    started(files, times).look()
    assert names(files) == []


def test_an_older_copy_of_the_disk_wins_no_time(files: DomainFiles, times: Times, tmp_path: Path) -> None:
    put(files, "first")
    started(files, times).look()
    shutil.copytree(tmp_path, tmp_path.parent / "copy")
    times.run(days=2)
    started(files, times).look()
    assert names(files) == []
    shutil.rmtree(tmp_path)
    (tmp_path.parent / "copy").rename(tmp_path)
    assert names(files) == ["first"]
    started(files, times).look()
    assert names(files) == []


def test_the_services_time_counts_where_the_box_was_off(files: DomainFiles, times: Times) -> None:
    """Leases were issued a day later each."""
    put(files, "first")
    started(files, times).look()
    times.service += DAY_S
    started(files, times).look()
    assert names(files) == ["first"]
    times.service += DAY_S
    started(files, times).look()
    assert names(files) == []


def test_a_lease_of_a_service_whose_clock_was_ahead_removes_nothing(files: DomainFiles, times: Times) -> None:
    """It is said once, whatever restarts, and again when it has happened again."""
    said: list[str] = []
    put(files, "first")
    started(files, times).look()
    for incident in (1, 2):
        times.service += 3651 * DAY_S
        for _ in range(3):
            retention = started(files, times)
            retention.say = said.append
            retention.look()
            times.run(days=0.1)
        assert len(said) == incident
        times.service = ISSUED + incident
        retention.look()
    assert "3651 days later" in said[0]
    assert names(files) == ["first"]
    calendar = kept_calendar(retention.calendar_file)
    assert calendar is not None
    assert calendar.at < ISSUED + DAY_S


def test_months_in_which_the_box_was_off_count_a_day_later(files: DomainFiles, times: Times) -> None:
    put(files, "first")
    put(files, "brief", "brief")
    started(files, times).look()
    times.service += 90 * DAY_S
    started(files, times).look()
    assert names(files) == ["brief", "first"]
    times.run(days=1)
    times.service += DAY_S
    started(files, times).look()
    assert names(files) == []


def test_how_far_it_has_come_is_told_as_the_agent_starts(files: DomainFiles, times: Times, tmp_path: Path) -> None:
    """A look comes a minute later; in a boot that has not opened the domains nobody is told."""
    retention = started(files, times)
    retention.told = tmp_path / "told.json"
    retention.stop.set()
    retention.run()
    assert told_time(retention.told) == ISSUED
    times.run(days=1)
    retention.look()
    assert told_time(retention.told) == ISSUED + DAY_S
    closed = started(DomainFiles.none(Paths(root=tmp_path)), times)
    closed.told = tmp_path / "closed.json"
    closed.stop.set()
    closed.run()
    assert not closed.told.exists()


def test_no_days_are_one_day(files: DomainFiles, times: Times) -> None:
    """A job has to read it."""
    put(files, "first", "brief")
    started(files, times).look()
    times.run(days=0.99)
    started(files, times).look()
    assert names(files) == ["first"]
    times.run(days=0.01)
    started(files, times).look()
    assert names(files) == []


def test_what_was_begun_and_given_up_goes_too(files: DomainFiles, times: Times) -> None:
    incoming = begun(files, "half")
    started(files, times).look()
    times.run(days=2)
    started(files, times).look()
    assert not incoming.folder.exists()


def test_a_file_of_a_domain_that_the_release_has_not_stays(files: DomainFiles, times: Times) -> None:
    """Nobody says how long; nobody reads it either."""
    put(files, "first", "elsewhere")
    started(files, times).look()
    times.run(days=4000)
    started(files, times).look()
    assert names(files) == ["first"]


def test_a_removal_that_was_interrupted_is_completed(
    files: DomainFiles, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the record and the file, and between the file and its room."""
    put(files, "first")
    started(files, times).look()
    times.run(days=2)

    def fails(*_: object, **__: object) -> None:
        raise OperationError("the power is cut")

    with monkeypatch.context() as cut:
        cut.setattr(DomainFiles, "remove", fails)
        with pytest.raises(OperationError):
            started(files, times).look()
    assert names(files) == ["first"]
    times.run(days=0.1)
    with monkeypatch.context() as cut:
        cut.setattr(shutil, "rmtree", fails)
        with pytest.raises(OperationError):
            started(files, times).look()
    assert names(files) == []
    assert list(files.root.rglob("content"))
    retention = started(files, times)
    retention.look()
    assert list(files.root.rglob("content")) == []
    assert [one.name for one in retention.removed()] == ["first"]


def damage(path: Path, how: str) -> None:
    """What whoever has the disk can make of a file that he cannot read: noise, a long file, another one, a folder."""
    path.unlink()
    match how:
        case "noise":
            path.write_bytes(os.urandom(16))
        case "long":
            path.write_bytes(bytes(1024 * 1024))
        case "other":
            path.write_bytes(b'{"version": 1}')
        case "folder":
            path.mkdir()
            (path / "kept").touch()


@pytest.mark.parametrize("how", ["noise", "long", "other", "folder"])
@pytest.mark.parametrize("name", ["calendar.json", "removed.json"])
def test_a_damaged_calendar_or_record_keeps_no_file_and_is_told_once(
    files: DomainFiles, times: Times, caplog: pytest.LogCaptureFixture, name: str, how: str
) -> None:
    """The calendar begins anew; days go on from when a file was first seen."""
    put(files, "first")
    started(files, times).look()
    times.run(days=2)
    put(files, "second")
    started(files, times).look()
    assert names(files) == ["second"]
    damage(files.root.parent / "retention" / name, how)
    assert [one.name for one in started(files, times).removed()] == (["first"] if name == "calendar.json" else [])
    times.service += 2 * DAY_S
    times.run(days=0.1)
    started(files, times).look()
    assert len(caplog.records) == 1
    assert names(files) == ["second"]
    times.run(days=2)
    for _ in range(2):
        started(files, times).look()
    assert len(caplog.records) == 1
    assert names(files) == []
    damage(files.root.parent / "retention" / name, how)
    started(files, times).look()
    assert len(caplog.records) == 2


def test_a_calendar_begins_anew_where_files_say_that_it_has_stood(files: DomainFiles, times: Times) -> None:
    """Though no lease has come for long, or none can be read any more."""
    for at in (0, 30):
        times.run(days=at)
        put(files, f"at-{at}", "training")
        started(files, times).look()
    assert names(files) == ["at-30"]
    retention = started(files, times)
    damage(retention.calendar_file, "noise")

    def refuse() -> int:
        raise OperationError("a lease cannot be read")

    retention.service_time = refuse
    with pytest.raises(OperationError):
        retention.look()
    times.run(days=2)
    with pytest.raises(OperationError):
        retention.look()
    assert names(files) == []


def test_a_calendar_that_is_damaged_while_the_agent_runs_goes_on(files: DomainFiles, times: Times) -> None:
    """Also if no other can be written."""
    put(files, "first")
    retention = started(files, times)
    retention.look()
    times.run(days=1)
    retention.look()
    damage(retention.calendar_file, "noise")
    times.run(days=0.5)
    retention.look()
    assert names(files) == ["first"]
    shutil.rmtree(retention.folder)
    retention.folder.touch()
    times.run(days=0.5)
    with pytest.raises(OperationError):
        retention.look()
    assert names(files) == []  # though its record could not be written
    retention.folder.unlink()
    retention.look()
    assert names(files) == []


def test_a_file_that_cannot_be_removed_keeps_no_other(files: DomainFiles, times: Times) -> None:
    for name in ("a", "b", "c"):
        put(files, name)
    retention = started(files, times)
    retention.look()
    times.run(days=2)
    (files.root / "training/results/b/since.json").unlink()
    (files.root / "training/results/b/since.json").mkdir()
    with pytest.raises(OperationError):
        retention.look()
    assert names(files) == ["b"]


def test_where_the_record_has_no_room_the_file_goes_first(
    files: DomainFiles, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a volume without a free inode would keep everything for ever."""
    put(files, "old")
    retention = started(files, times)
    retention.look()
    times.run(days=2)

    def full(path: Path, content: bytes) -> None:
        if path == retention.record_file and names(files):
            raise OperationError(f"{path} cannot be written: No space left on device.")
        write_durably(path, content)

    monkeypatch.setattr(retention_module, "write_durably", full)
    retention.look()
    assert names(files) == []
    assert [one.name for one in retention.removed()] == ["old"]


def test_the_record_keeps_the_latest(files: DomainFiles, times: Times, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "REMOVED_MOST", 2)
    retention = started(files, times)
    for name in ("first", "second", "third"):
        put(files, name)
        retention.look()
        times.run(days=2)
    retention.look()
    assert [one.name for one in retention.removed()] == ["second", "third"]


@pytest.mark.parametrize("failure", [OperationError("the TPM refuses"), OSError(5, "Input/output error")])
def test_a_look_that_fails_is_tried_again(
    files: DomainFiles, times: Times, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """And ends no thread, with which the agent would end."""
    monkeypatch.setattr(retention_module, "FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(retention_module, "LOOK_EVERY_S", 0.0)
    put(files, "first")
    retention = started(files, times)
    looks = []

    def clock_ms() -> int:
        looks.append(times.clock_ms)
        if len(looks) == 1:
            raise failure
        retention.stop.set()
        return times.clock_ms

    retention.read_clock_ms = clock_ms
    retention.run()
    assert len(looks) == 2
    assert (retention.folder / "calendar.json").exists()
