"""A release that says another size: what workloads have written is in the new volume, or whole in the old one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance.files import KEPT_FREE, free_bytes
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import SINCE, forget_closed
from sealwright_appliance.result_volumes import MIB, ResultVolumes
from sealwright_appliance.run import run
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.wire.lease import DAY_S
from sealwright_policies.workloads import ResultsPlan
from sealwright_testing.laid_files import text_of
from sealwright_testing.power_cut import PowerCutError, power_cut_at
from sealwright_testing.state_disk import FILL, STRANGER, as_workload, mounted_state

TEXT, NARROWER = text_of("training", "\n[run]\nengine = true\n"), text_of("training")
SPARSE = """
with open("checkpoint", "wb") as file:
    file.truncate(100 << 20)
    file.seek(50 << 20)
    file.write(b"half way")
open("empty", "wb").truncate(1 << 30)
open("index", "wb").write(bytes(range(256)) * 4096)
os.link("index", "index-before")
os.mkdir("runs")
os.link("index", "runs/index")
"""
ALL_KINDS = """
os.mkdir("run", 0o751)
open("run/numbers", "wb").write(b"1 2 3")
os.chmod("run/numbers", 0o640)
os.symlink("run/numbers", "latest")
os.mkfifo("progress", 0o600)
os.utime("run/numbers", ns=(1, 2_000_000_003))
os.utime("run", ns=(4, 5_000_000_006))
os.setxattr("run/numbers", "user.unit", b"mm")
"""


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 224):
        yield box


def started(paths: Paths, mib: int, text: EntrustedText = TEXT) -> tuple[dict[str, str], list[str]]:
    """A start of a release that says this size: why there is no volume, and what was said."""
    off(paths)
    lines: list[str] = []
    plans = {"training": ResultsPlan(mib=mib, days=30)}
    volumes = ResultVolumes(paths.results, say=lines.append)
    return volumes.open(plans, {"training": text}, ["training"], ["training"]), lines


def off(paths: Paths) -> None:
    for place in paths.results.glob("*"):
        if place.is_mount():
            run(["umount", str(place)])


def there(paths: Paths) -> list[str]:
    place = paths.results / "training"
    assert place.is_mount()
    return sorted(path.name for path in place.iterdir() if path.name != "lost+found")


def size_mib(paths: Paths) -> int:
    return (paths.results / "training.ext4").stat().st_size // MIB


def aside(paths: Paths) -> list[tuple[EntrustedText | None, int]]:
    return [(one.text, one.size // MIB) for one in ResultVolumes(paths.results).closed(["training"])]


def damage(paths: Paths, name: str) -> None:
    """Let the disk not give a file back any more."""
    inode = (paths.results / "training" / name).stat().st_ino
    off(paths)
    run(["debugfs", "-w", "-R", f"clri <{inode}>", str(paths.results / "training.ext4")])


@pytest.mark.parametrize("sizes", [(32, 64), (32, 16)])
def test_holes_and_hard_links_take_no_room(paths: Paths, sizes: tuple[int, int]) -> None:
    """A checkpoint that a library preallocates, an index that is written through memory, a database."""
    started(paths, sizes[0])
    place = paths.results / "training"
    as_workload(place, SPARSE)
    assert started(paths, sizes[1]) == ({}, [])
    assert (size_mib(paths), aside(paths)) == (sizes[1], [])
    assert there(paths) == ["checkpoint", "empty", "index", "index-before", "runs"]
    content = (place / "checkpoint").read_bytes()
    assert len(content) == 100 << 20
    assert content[50 << 20 :].startswith(b"half way\0")
    assert not content.replace(b"half way", b"").strip(b"\0")
    assert ((place / "empty").stat().st_size, (place / "empty").stat().st_blocks) == (1 << 30, 0)
    names = ("index", "index-before", "runs/index")
    assert {(place / name).stat().st_ino for name in names} == {(place / "index").stat().st_ino}
    assert (place / "index").read_bytes() == bytes(range(256)) * 4096


def test_every_kind_of_entry_is_copied_as_it_is(paths: Paths) -> None:
    started(paths, 8)
    place = paths.results / "training"
    as_workload(place, ALL_KINDS)
    os.setxattr(place / "run/numbers", SINCE, b"1 2000000003")
    before = {path: path.lstat() for path in place.rglob("*")}
    assert started(paths, 16) == ({}, [])
    assert set(place.rglob("*")) == set(before)
    for path, then in before.items():
        now = path.lstat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (then.st_mode, then.st_uid, then.st_gid)
        if path.name != "lost+found":
            assert (path, now.st_mtime_ns, now.st_uid) == (path, then.st_mtime_ns, STRANGER)
    assert (place / "latest").readlink() == Path("run/numbers")
    assert stat.S_ISFIFO((place / "progress").lstat().st_mode)
    assert os.getxattr(place / "run/numbers", "user.unit") == b"mm"
    assert os.getxattr(place / "run/numbers", SINCE) == b"1 2000000003"


def test_a_larger_figure_leaves_the_old_volume_if_a_file_cannot_be_copied(paths: Paths) -> None:
    started(paths, 8)
    as_workload(paths.results / "training", "for name in 'ab': open(name, 'wb').write(b'patient 17')")
    damage(paths, "a")
    problems, (line,) = started(paths, 16)
    assert problems == {}
    assert line == (
        "results training: 1 file or folder cannot be copied: Structure needs cleaning. They have 8 MiB as before."
    )
    assert (size_mib(paths), aside(paths)) == (8, [])
    assert there(paths) == ["a", "b"]
    assert (paths.results / "training/b").read_bytes() == b"patient 17"
    assert not [*paths.results.glob(".*.new")]


def test_a_larger_figure_leaves_the_old_volume_if_the_disk_does_not_take_the_copy(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known once all is flushed: each file by itself was taken."""
    started(paths, 16)
    as_workload(paths.results / "training", "open('a', 'wb').write(os.urandom(11 << 20))")
    content = (paths.results / "training/a").read_bytes()
    off(paths)
    fallocate = os.posix_fallocate

    def filled(descriptor: int, _: int, size: int) -> None:
        patch.setattr("os.posix_fallocate", fallocate)
        os.ftruncate(descriptor, size)
        left = os.statvfs(paths.state)
        with (paths.state / "filling").open("wb") as file:
            fallocate(file.fileno(), 0, left.f_bfree * left.f_frsize - 8 * MIB)

    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", filled)
        problems, (line,) = started(paths, 32)
    assert problems == {}
    assert line.startswith("results training: They cannot be copied: ")
    assert line.endswith(". They have 16 MiB as before.")
    assert (size_mib(paths), (paths.results / "training/a").read_bytes()) == (16, content)


def test_a_smaller_figure_takes_what_can_be_read_and_sets_the_old_volume_aside(paths: Paths) -> None:
    started(paths, 16)
    as_workload(paths.results / "training", "for name in 'abc': open(name, 'wb').write(b'patient 17')")
    damage(paths, "a")
    problems, (line,) = started(paths, 8)
    assert problems == {}
    assert line == (
        "results training: 1 file or folder cannot be copied: Structure needs cleaning."
        " The old volume is set aside, whole; in its place is what could be copied."
    )
    assert (size_mib(paths), there(paths), aside(paths)) == (8, ["b", "c"], [(TEXT, 16)])
    assert started(paths, 8) == ({}, [])
    assert (size_mib(paths), there(paths), aside(paths)) == (8, ["b", "c"], [(TEXT, 16)])


def test_without_room_in_a_smaller_one_all_is_kept_and_opens_at_its_own_size(paths: Paths) -> None:
    started(paths, 16)
    place = paths.results / "training"
    as_workload(place, "for name in 'ab': open(name, 'wb').write(bytes(3 << 20))")
    problems, (line,) = started(paths, 4, NARROWER)
    assert problems == {}
    assert line == (
        "results training: What was written has no room in 4 MiB."
        " The old volume is set aside, whole; in its place is an empty one."
    )
    assert (size_mib(paths), there(paths), aside(paths)) == (4, [], [(TEXT, 16)])
    as_workload(place, "open('later', 'wb').close()")
    assert started(paths, 4, NARROWER) == ({}, [])
    assert there(paths) == ["later"]
    assert started(paths, 16) == ({}, [])
    assert (size_mib(paths), there(paths), aside(paths)) == (16, ["a", "b"], [(NARROWER, 4)])
    assert (place / "b").read_bytes() == bytes(3 << 20)


def test_of_two_with_the_same_text_the_one_of_the_figure_is_opened(paths: Paths) -> None:
    started(paths, 16)
    as_workload(paths.results / "training", "open('large', 'wb').write(bytes(6 << 20))")
    started(paths, 4)
    as_workload(paths.results / "training", "open('small', 'wb').close()")
    for _ in range(2):
        assert started(paths, 16) == ({}, [])
        assert (there(paths), aside(paths)) == (["large"], [(TEXT, 4)])
        assert started(paths, 4) == ({}, [])
        assert (there(paths), aside(paths)) == (["small"], [(TEXT, 16)])


def test_a_volume_takes_its_own_text_with_it_if_a_power_cut_came_before_that_was_kept(paths: Paths) -> None:
    """It says itself under which one it was last open."""
    text = paths.results / "training.text.json"
    started(paths, 16)
    as_workload(paths.results / "training", "open('large', 'wb').write(bytes(6 << 20))")
    text.unlink()
    started(paths, 4)
    assert aside(paths) == [(TEXT, 16)]
    text.unlink()
    assert started(paths, 16) == ({}, [])
    assert (there(paths), aside(paths)) == (["large"], [(TEXT, 4)])


def test_what_is_aside_for_its_size_goes_when_its_days_are_over(paths: Paths) -> None:
    started(paths, 16)
    as_workload(paths.results / "training", "open('large', 'wb').write(bytes(6 << 20))")
    started(paths, 4)
    days = min(30, max(1, TEXT.domain.retention.results_days))
    for day, left in ((0, 1), (days - 0.1, 1), (days, 0)):
        forget_closed(paths.results, {"training": ResultsPlan(mib=4, days=30)}, int(day * DAY_S))
        assert len(aside(paths)) == left


def test_what_a_power_cut_left_of_a_copy_takes_no_room(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release before may start next, and needs no copy."""
    started(paths, 8)

    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(ResultVolumes, "_put", cut)
        with pytest.raises(PowerCutError):
            started(paths, 16)
    assert [*paths.results.glob(".*.new")]
    assert started(paths, 8) == ({}, [])
    assert not [*paths.results.glob(".*.new")]


def test_without_room_for_both_a_larger_one_stays_as_it_is(paths: Paths) -> None:
    started(paths, 16)
    as_workload(paths.results / "training", "open('large', 'wb').write(bytes(6 << 20))")
    off(paths)
    (paths.state / "other").write_bytes(bytes(free_bytes(paths.state) - KEPT_FREE - 2 * MIB))
    assert "no room" in started(paths, 8)[0]["training"]
    assert (size_mib(paths), aside(paths)) == (16, [])
    (paths.state / "other").unlink()
    assert started(paths, 16) == ({}, [])
    assert there(paths) == ["large"]


@pytest.mark.parametrize("cut_at", range(12))
def test_a_power_cut_at_any_flush_or_rename_leaves_the_old_volume_or_both(paths: Paths, cut_at: int) -> None:
    started(paths, 16)
    as_workload(paths.results / "training", "open('large', 'wb').write(bytes(6 << 20))")
    with power_cut_at(cut_at):
        started(paths, 4, NARROWER)
    assert started(paths, 4, NARROWER)[0] == {}
    assert (size_mib(paths), there(paths), aside(paths)) == (4, [], [(TEXT, 16)])
    assert not [*paths.results.glob(".*.new")]
    error, _ = as_workload(paths.results / "training", FILL).split()
    assert error == "ENOSPC"
    assert started(paths, 16) == ({}, [])
    assert there(paths) == ["large"]
