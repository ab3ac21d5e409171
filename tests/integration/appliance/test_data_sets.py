"""Data sets that came to the box, on a state volume that is really mounted: what a workload can do with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance.data_sets import bind_data_sets
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import run
from sealwright_policies.flows.documents import FileKind
from sealwright_testing.laid_files import files_of, lay_in
from sealwright_testing.state_disk import as_workload, mounted_state

ROWS = b"patient 17, ward 3, metformin\n"
TRIES = """
import errno
def tried(path, mode):
    try:
        with open(path, mode) as file:
            return file.read() if mode == "r" else "done"
    except OSError as error:
        return errno.errorcode[error.errno]
print(tried("cohort-7.csv/content", "r"), end="")
print(tried("cohort-7.csv/about.json", "r"), tried("cohort-7.csv/content", "r+"), tried("new", "w"))
print(tried("link", "r"), sorted(os.listdir(".")))
"""


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose data sets of two domains were shown."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 96):
        lay_in(files_of(box.domain_files, "training", "other"), "training", "cohort-7.csv", ROWS)
        assert bind_data_sets(box, {"training", "other"}) == {}
        try:
            yield box
        finally:
            run(["umount", *(str(box.data_sets / one) for one in ("training", "other"))])


def test_a_workload_reads_what_came_and_changes_nothing(paths: Paths) -> None:
    """A link is not followed: whoever owns the disk, or has broken into the agent, may have put one there."""
    (paths.domain_files / "training/data-set/link").symlink_to("/etc/passwd")
    rows, changed, *more = as_workload(paths.data_sets / "training", TRIES).splitlines()
    assert f"{rows}\n".encode() == ROWS
    assert changed == "EACCES EACCES EROFS"
    assert more == ["ELOOP ['cohort-7.csv', 'link']"]


def test_what_comes_later_is_seen_and_what_goes_is_gone(paths: Paths) -> None:
    files = files_of(paths.domain_files)
    lay_in(files, "training", "late.csv", ROWS)
    show = "print(sorted(os.listdir('.')), len(open('late.csv/content').read()))"
    assert as_workload(paths.data_sets / "training", show) == f"['cohort-7.csv', 'late.csv'] {len(ROWS)}\n"
    for held in files.held():
        files.remove(held)
    assert as_workload(paths.data_sets / "training", "print(os.listdir('.'))") == "[]\n"


def test_other_kinds_are_not_shown(paths: Paths) -> None:
    lay_in(files_of(paths.domain_files), "training", "weights.gguf", b"GGUF", kind=FileKind.ADAPTER)
    assert as_workload(paths.data_sets / "training", "print(os.listdir('.'))") == "['cohort-7.csv']\n"


def test_nobody_comes_by_path(paths: Paths) -> None:
    """A data set can be read by all; the folders above are closed."""
    for folder in (paths.data_sets, paths.domain_files, paths.domain_files / "training"):
        assert folder.stat().st_mode & 0o77 == 0, folder


@pytest.mark.parametrize("place", ["", "training", "training/data-set"])
def test_a_link_in_place_of_a_folder_is_not_shown(tmp_path: Path, place: str) -> None:
    """Else whoever wrote the state volume had root show a workload any folder of the box."""
    box = Paths(root=tmp_path)
    aim = tmp_path / "results"
    (aim / "data-set").mkdir(parents=True)
    link = box.domain_files / place
    link.parent.mkdir(parents=True)
    link.symlink_to(aim)
    problems = bind_data_sets(box, ["training"])
    assert "is a link" in problems["training"]
    assert not (box.data_sets / "training").is_mount()
