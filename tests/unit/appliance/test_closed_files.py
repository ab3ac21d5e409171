"""A file that came under another text of its domain is opened only if the release's text is within that one."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.files import write_durably
from sealwright_appliance.flows import folders
from sealwright_appliance.flows.closed_files import NOT_KEPT, NOT_LET_IN, NOT_SAID, obstacle_to_file, settle_files
from sealwright_appliance.flows.domain_files import (
    ABOUT,
    CONTENT,
    REMOVED,
    SEAL,
    SINCE,
    TEXT,
    DomainFile,
    DomainFiles,
)
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.file_seals import FileSeals, Stage
from sealwright_appliance.flows.retention import Retention
from sealwright_policies.domains.entrusted import EntrustedText, entrusted_bytes
from sealwright_policies.flows.documents import FileKind
from sealwright_policies.wire.lease import DAY_S
from sealwright_testing.laid_files import SEALS, files_of, lay_in, text_of
from sealwright_testing.power_cut import PowerCutError

FLOW_ID = "0f" * 16
KEPT = "\n[retention]\nresults_days = {}\n"
SILENT, ENGINE = text_of("training"), text_of("training", "\n[run]\nengine = true\n")
IMPORTS = text_of("training", '\n[run]\nimports = ["data-set"]\n')


@pytest.fixture
def files(tmp_path: Path) -> DomainFiles:
    """None yet."""
    return files_of(tmp_path / "domains", "training")


def came(files: DomainFiles, name: str = "cohort.csv", text: EntrustedText = SILENT, **more: Any) -> DomainFile:
    """With a flow."""
    return lay_in(files, "training", name, b"rows", text=text, **({"flow_id": FLOW_ID} | more))


def of_a_later_release(files: DomainFiles, name: str) -> None:
    file = DomainFile(
        version=1, domain="training", kind=FileKind.DATA_SET, name=name, size=4, at=0, flow_id=FLOW_ID,
        digest=hashlib.sha256(b"rows").hexdigest(),
    )  # fmt: skip
    incoming = files.incoming(f"import-{name}", file, SILENT)
    incoming.append(0, b"rows")
    write_durably(incoming.folder / TEXT, b'{"later":1}')
    replace(incoming, text=b'{"later":1}').put_in_place()


def started(files: DomainFiles, text: EntrustedText | None) -> list[str]:
    """What is open after a start of a release in which the domain says this."""
    said: list[str] = []
    unsettled = settle_files(files, ["training"], {} if text is None else {"training": text}, said.append)
    assert (unsettled, said) == (set(), [])
    return [one.name for one in files.all_files()]


def reasons(files: DomainFiles, text: EntrustedText | None) -> list[str]:
    found = [obstacle_to_file(files, one, text) for one in files.closed()]
    return [one.sentence for one in found if one is not None and one.code == BoxCode.DOMAIN_CHANGED]


def test_a_wider_text_closes_a_file_and_its_own_opens_it_again(files: DomainFiles) -> None:
    for kind in FileKind:
        came(files, f"{kind.value}.x", kind=kind)
    assert started(files, ENGINE) == []
    assert reasons(files, ENGINE) == [
        "This release's domain is wider than when it came: run.engine: true, was at most false."
    ] * len(FileKind)
    assert started(files, ENGINE) == []
    assert len(started(files, SILENT)) == len(FileKind)
    assert files.closed() == []


def test_a_narrower_text_leaves_a_file_open_and_does_not_take_the_place_of_its_own(files: DomainFiles) -> None:
    """Else a release that is as wide again would have lost it."""
    came(files, text=ENGINE)
    assert started(files, SILENT) == ["cohort.csv"]
    assert started(files, ENGINE) == ["cohort.csv"]


def test_a_text_that_this_release_cannot_read_keeps_a_file_closed(files: DomainFiles) -> None:
    """Of a later release, say, whose domains have keys that this one does not know."""
    of_a_later_release(files, "later")
    came(files, "other")
    assert started(files, SILENT) == ["other"]
    assert reasons(files, SILENT) == [NOT_KEPT]


def linked(content: Path) -> None:
    content.unlink()
    content.symlink_to("/etc/passwd")


def moved(folder: Path, kind: Path) -> None:
    kind.mkdir(parents=True)
    folder.rename(kind / "cohort.csv")


def domains_above(folder: Path) -> Path:
    return next(one for one in folder.parents if one.name == "domains")


CHANGES: dict[str, Callable[[Path], object]] = {
    "no text": lambda folder: (folder / TEXT).unlink(),
    "another text": lambda folder: (folder / TEXT).write_bytes(entrusted_bytes(ENGINE)),
    "no seal": lambda folder: (folder / SEAL).unlink(),
    "another seal": lambda folder: (folder / SEAL).write_bytes(bytes(32)),
    "a longer seal": lambda folder: (folder / SEAL).write_bytes(bytes(33)),
    "another about": lambda folder: (folder / ABOUT).write_bytes((folder / ABOUT).read_bytes().replace(b"0f", b"0e")),
    "no content": lambda folder: (folder / CONTENT).unlink(),
    "a link for content": lambda folder: linked(folder / CONTENT),
    "another name": lambda folder: folder.rename(folder.with_name("another")),
    "another kind": lambda folder: moved(folder, folder.parent.parent / "results"),
    "another domain": lambda folder: moved(folder, domains_above(folder) / "other/data-set"),
    "seals of another box": lambda folder: (folder / SEAL).write_bytes(
        FileSeals(bytes(32)).of(
            Stage.WHOLE, (folder / ABOUT).read_bytes(), (folder / TEXT).read_bytes(), folder / CONTENT
        )
    ),
    "what is begun": lambda folder: (folder / SEAL).write_bytes(
        SEALS.of(Stage.BEGUN, (folder / ABOUT).read_bytes(), (folder / TEXT).read_bytes(), folder / CONTENT)
    ),
}


@pytest.mark.redteam
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("closed", [False, True])
def test_what_has_no_seal_of_this_box_or_lies_elsewhere_is_no_file_and_is_dropped(
    files: DomainFiles, change: str, *, closed: bool
) -> None:
    """Workloads see whatever lies among the data sets, so it may not stay there."""
    file = came(files)
    if closed:
        assert started(files, ENGINE) == []
    CHANGES[change](files.root / ("training/.closed" if closed else "training") / "data-set/cohort.csv")
    assert files.held() == []
    with pytest.raises(FlowError, match=r"no data-set named|kept closed"):
        files.find(file.domain, file.kind, "cohort.csv" if closed else file.name)
    said: list[str] = []
    texts = {"training": SILENT, "other": text_of("other")}
    assert settle_files(files, ["training", "other"], texts, said.append) == set()
    assert [line.split(" has no seal of this box")[0].rpartition(" of ")[0] for line in said] != []
    assert not list(files.root.rglob("data-set/*"))
    assert not list(files.root.rglob("results/*"))
    assert came(files) == file


def test_what_lies_beside_the_parts_of_a_file_is_dropped_and_the_file_stays(files: DomainFiles) -> None:
    """A workload would see it. Of a date that is none the days begin anew."""
    came(files)
    folder = files.root / "training/data-set/cohort.csv"
    (folder / "more").write_bytes(b"closed rows")
    (folder / "folder").mkdir()
    (folder / "folder/more").write_bytes(b"closed rows")
    (folder / SINCE).write_bytes(b'{"at":99,"seal":"' + b"0" * 64 + b'","version":1}')
    (folder.parent / "link").symlink_to("/etc")
    (folder.parent / "stray").write_bytes(b"closed rows")
    said: list[str] = []
    assert settle_files(files, ["training"], {"training": SILENT}, said.append) == set()
    assert len(said) == 5
    assert sorted(path.name for path in folder.parent.rglob("*")) == [
        ABOUT, "cohort.csv", CONTENT, SEAL, TEXT,
    ]  # fmt: skip
    assert [one.name for one in files.all_files()] == ["cohort.csv"]


def test_where_what_is_no_file_cannot_be_dropped_nothing_of_the_domain_is_shown(files: DomainFiles) -> None:
    """Somebody has seen to it that it stays: a workload would read it."""
    came(files)
    came(files, "whole.csv")
    domain = files.root / "training"
    (domain / "data-set/cohort.csv" / SEAL).unlink()
    (domain / REMOVED).symlink_to("/etc")
    said: list[str] = []
    assert settle_files(files, ["training", "other"], {"training": SILENT}, said.append) == {"training"}
    assert "is a link" in said[0]


def test_what_only_began_and_has_no_seal_begins_anew(files: DomainFiles) -> None:
    file = DomainFile(
        version=1, domain="training", kind=FileKind.DATA_SET, name="a", digest="00" * 32, size=2**21, at=0,
        flow_id=FLOW_ID,
    )  # fmt: skip
    incoming = files.incoming(FLOW_ID, file, SILENT)
    incoming.append(0, bytes(2**20))
    assert files.incoming(FLOW_ID, file, SILENT).next_frame == 1  # the control
    (incoming.folder / ABOUT).write_bytes((incoming.folder / ABOUT).read_bytes().replace(b"2097152", b"2097153"))
    assert files.held() == []
    assert files.incoming(FLOW_ID, file, SILENT).next_frame == 0
    assert [one.file for one in files.begun()] == [file]
    (incoming.folder / SEAL).unlink()
    assert settle_files(files, ["training"], {"training": SILENT}, print) == set()
    assert not incoming.folder.exists()


def test_where_the_release_does_not_say_what_its_domain_is_all_stays_closed(files: DomainFiles) -> None:
    came(files)
    assert started(files, None) == []
    assert reasons(files, None) == [NOT_SAID]


def test_what_was_put_in_stays_closed_once_nobody_may_put_in(files: DomainFiles) -> None:
    came(files, "own.csv", IMPORTS, flow_id=None)
    came(files, "other.csv", IMPORTS)
    assert started(files, IMPORTS) == ["other.csv", "own.csv"]
    assert started(files, SILENT) == ["other.csv"]
    assert reasons(files, SILENT) == [NOT_LET_IN]


def test_files_of_a_domain_that_the_release_does_not_have_stay_where_they_are(files: DomainFiles) -> None:
    came(files)
    assert settle_files(files, ["other"], {}, print) == set()
    assert len(files.placed()) == 1


def test_a_closed_file_is_not_found_and_no_other_takes_its_place(files: DomainFiles) -> None:
    file = came(files)
    started(files, ENGINE)
    with pytest.raises(FlowError) as caught:
        files.find(file.domain, file.kind, file.name)
    assert (caught.value.status, caught.value.code) == (403, "DOMAIN_CHANGED")
    with pytest.raises(FlowError) as caught:
        came(files, text=ENGINE)
    assert caught.value.code == "FILE_EXISTS"


def test_what_was_begun_under_another_text_has_that_under_which_it_was_offered_last(files: DomainFiles) -> None:
    file = DomainFile(
        version=1, domain="training", kind=FileKind.DATA_SET, name="a", digest="00" * 32, size=2, at=0, flow_id=FLOW_ID
    )
    for text in (SILENT, ENGINE):
        incoming = files.incoming(FLOW_ID, file, text)
        assert (incoming.folder / TEXT).read_bytes() == entrusted_bytes(text)


def test_a_closed_file_goes_by_the_days_under_which_it_came_and_a_closed_one_of_another_text_by_the_releases(
    files: DomainFiles, tmp_path: Path
) -> None:
    came(files, "brief", text_of("training", KEPT.format(2)))
    of_a_later_release(files, "unknown")
    assert started(files, text_of("training", KEPT.format(5))) == []
    at = [0]
    retention = Retention(
        lambda _: 5, files, tmp_path / "retention", lambda: at[0] * 1000, lambda: 0, threading.Lock(), lambda _: None
    )
    left = []
    for days in (0, 1.9, 2, 4.9, 5):
        at[0] = int(days * DAY_S)
        retention.look()
        left.append(sorted(one.file.name for one in files.closed()))
    assert left == [["brief", "unknown"], ["brief", "unknown"], ["unknown"], ["unknown"], []]
    assert [one.name for one in retention.removed()] == ["brief", "unknown"]


@pytest.mark.parametrize("place", ["training/.closed", "training/.closed/data-set"])
def test_no_link_is_followed_and_what_could_not_be_closed_is_told(
    files: DomainFiles, tmp_path: Path, place: str
) -> None:
    """The folders are the agent's, and root moves the files."""
    came(files)
    aim = tmp_path / "aim"
    (aim / "data-set").mkdir(parents=True)
    (files.root / place).parent.mkdir(exist_ok=True)
    (files.root / place).symlink_to(aim)
    said: list[str] = []
    assert settle_files(files, ["training"], {"training": ENGINE}, said.append) == {"training"}
    assert "is a link" in said[0]
    assert [path.name for path in aim.rglob("*")] == ["data-set"]


@pytest.mark.parametrize("step", ["pathlib.Path.mkdir", "pathlib.Path.rename", "sync"])
@pytest.mark.parametrize("way", ["close", "open"])
def test_a_power_cut_leaves_a_file_open_or_closed_and_the_next_start_goes_on(
    files: DomainFiles, monkeypatch: pytest.MonkeyPatch, step: str, way: str
) -> None:
    came(files)
    before, after = (SILENT, ENGINE) if way == "close" else (ENGINE, SILENT)
    started(files, before)

    def cut(*_: object, **__: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        if step == "sync":
            patch.setattr(folders, "sync_directory", cut)
        else:
            patch.setattr(step, cut)
        with pytest.raises(PowerCutError):
            started(files, after)
    assert len(files.placed()) + len(files.closed()) == 1
    assert started(files, after) == ([] if way == "close" else ["cohort.csv"])
    assert len(files.placed()) + len(files.closed()) == 1


@pytest.mark.parametrize("cut_at", range(16))
def test_a_power_cut_while_a_file_comes_never_leaves_one_without_its_text(
    files: DomainFiles, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    """At each flush: a whole file has the text, and what was begun is gone on with."""
    flushes = [0]
    true: Callable[[int], None] = os.fsync

    def flush(descriptor: int) -> None:
        if flushes[0] == cut_at:
            raise PowerCutError
        flushes[0] += 1
        true(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", flush)
        with suppress(PowerCutError):
            came(files)
    for held in files.held():
        assert files.text(held) == SILENT
    if not files.placed():
        came(files)
    assert started(files, SILENT) == ["cohort.csv"]
