"""Volumes of results, really made and mounted: their size holds, and the state volume keeps its room."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from sealwright_appliance import result_volumes
from sealwright_appliance.files import KEPT_FREE, free_bytes, overwrite, write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import SINCE
from sealwright_appliance.result_volumes import MIB, ResultVolumes
from sealwright_appliance.run import ToolError, run
from sealwright_policies.domains.entrusted import entrusted_bytes
from sealwright_policies.workloads import ResultsPlan
from sealwright_testing.laid_files import text_of
from sealwright_testing.power_cut import PowerCutError
from sealwright_testing.state_disk import FILL, STRANGER, as_workload, mounted_state

MAKE_FILES = """
import errno
try:
    for number in range(100_000):
        open(str(number), "wb").close()
except OSError as error:
    print(errno.errorcode[error.errno], number)
"""


def plan(mib: int, days: int = 0) -> ResultsPlan:
    return ResultsPlan(mib=mib, days=days)


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 160):
        yield box


def opened(paths: Paths, plans: dict[str, ResultsPlan], **more: Sequence[str]) -> dict[str, str]:
    """As at a boot; why a volume is not there."""
    return said(paths, plans, **more)[0]


def said(paths: Paths, plans: dict[str, ResultsPlan], **more: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """And what was said."""
    lines: list[str] = []
    results = ResultVolumes(paths.results, say=lines.append)
    known = more.get("known", [*plans])
    return results.open(plans, {one: text_of(one) for one in known}, more.get("needed", [*plans]), known), lines


def restarted(paths: Paths) -> None:
    for place in paths.results.iterdir():
        if place.is_mount():
            run(["umount", str(place)])


def size(place: Path) -> int:
    return shutil.disk_usage(place).total


def test_a_workload_that_fills_its_volume_leaves_the_state_volume_and_other_domains_their_room(paths: Paths) -> None:
    assert opened(paths, {"training": plan(8), "other": plan(4)}) == {}
    results = ResultVolumes(paths.results)
    assert not results.is_full("training")
    before = free_bytes(paths.state)
    error, written = as_workload(paths.results / "training", FILL).split()
    assert error == "ENOSPC"
    assert 6 * MIB < int(written) < 8 * MIB
    os.sync()
    assert before - free_bytes(paths.state) < MIB
    assert results.is_full("training")
    assert not results.is_full("other")
    write_durably(paths.leases / "lease", bytes(65536))
    assert as_workload(paths.results / "other", 'open("a", "wb").write(bytes(65536)); print("done")') == "done\n"


def test_a_volume_takes_so_many_files_and_no_more(paths: Paths) -> None:
    opened(paths, {"training": plan(4)})
    error, number = as_workload(paths.results / "training", MAKE_FILES).split()
    assert error == "ENOSPC"
    assert int(number) <= 4 * 64
    assert ResultVolumes(paths.results).is_full("training")


def test_nothing_on_it_is_a_device_a_program_or_a_link_and_only_its_own_unit_comes_there(paths: Paths) -> None:
    opened(paths, {"training": plan(4)})
    (line,) = [one for one in Path("/proc/self/mountinfo").read_text().splitlines() if "/results/training " in one]
    assert {"rw", "nodev", "nosuid", "noexec", "nosymfollow"} <= set(line.split()[5].split(","))
    assert paths.results.stat().st_mode & 0o777 == 0o700
    assert (paths.results / "training").stat().st_mode & 0o7777 == 0o1777
    assert (paths.results / "training.ext4").stat().st_mode & 0o777 == 0o600


def test_what_was_written_is_there_in_the_next_boot_and_a_larger_figure_gives_more_room(paths: Paths) -> None:
    opened(paths, {"training": plan(4)})
    place = paths.results / "training"
    as_workload(place, 'open("adapter.gguf", "wb").write(b"GGUF")')
    small = size(place)
    restarted(paths)
    assert not list(place.iterdir())
    assert opened(paths, {"training": plan(4)}, needed=[]) == {}
    assert (size(place), (place / "adapter.gguf").read_bytes()) == (small, b"GGUF")
    restarted(paths)
    opened(paths, {"training": plan(16)})
    assert size(place) > 3 * small
    assert (place / "adapter.gguf").read_bytes() == b"GGUF"
    error, written = as_workload(place, FILL).split()
    assert (error, int(written) > 12 * MIB) == ("ENOSPC", True)


def test_a_smaller_figure_keeps_what_has_room_in_it(paths: Paths) -> None:
    opened(paths, {"training": plan(16)})
    place = paths.results / "training"
    as_workload(place, 'os.mkdir("run"); open("run/a", "wb").write(bytes(1_000_000))')
    os.setxattr(place / "run/a", SINCE, b"1 2")
    before = (place / "run/a").stat()
    restarted(paths)
    assert said(paths, {"training": plan(8)}) == ({}, [])
    assert size(place) < 8 * MIB
    after = (place / "run/a").stat()
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (STRANGER, before.st_mode, before.st_mtime_ns)
    assert (place / "run").stat().st_uid == STRANGER
    assert os.getxattr(place / "run/a", SINCE) == b"1 2"
    as_workload(place, 'open("run/b", "wb").write(bytes(3_500_000))')
    restarted(paths)
    _, (line,) = said(paths, {"training": plan(4)})
    assert line.endswith("no room in 4 MiB. The old volume is set aside, whole; in its place is an empty one.")
    assert size(place) < 4 * MIB
    assert not (place / "run").exists()


def test_a_larger_figure_waits_for_room_and_a_smaller_one_does_not(paths: Paths) -> None:
    opened(paths, {"training": plan(16)})
    restarted(paths)
    (paths.state / "other").write_bytes(bytes(free_bytes(paths.state) - KEPT_FREE - 2 * MIB))
    problems, (line,) = said(paths, {"training": plan(32)})
    assert problems == {}
    assert "no room" in line
    assert "16 MiB as before" in line
    assert (paths.results / "training.ext4").stat().st_size == 16 * MIB
    restarted(paths)
    assert "no room" in opened(paths, {"training": plan(8)})["training"]
    assert not (paths.results / "training").is_mount()


def test_a_boot_does_not_wait_for_the_copy_of_a_large_volume(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays within its figure; where that cannot be without the copy, it stays closed."""
    monkeypatch.setattr(result_volumes, "COPIED_MOST", 4 * MIB)
    opened(paths, {"training": plan(8)})
    restarted(paths)
    problems, (line,) = said(paths, {"training": plan(16)})
    assert (problems, "They have 8 MiB as before" in line) == ({}, True)
    restarted(paths)
    assert "are not copied" in opened(paths, {"training": plan(6)})["training"]
    assert opened(paths, {"training": plan(4)}) == {}
    assert size(paths.results / "training") < 4 * MIB


def test_a_domain_that_declares_none_has_none_and_what_another_release_had_stays(paths: Paths) -> None:
    opened(paths, {name: plan(4) for name in ("training", "other")})
    restarted(paths)
    opened(paths, {}, known=["training"])
    assert not (paths.results / "training.ext4").exists()
    assert (paths.results / "other.ext4").exists()
    assert not (paths.results / "other").is_mount()


def test_a_volume_is_made_for_a_workload_that_runs_alone(paths: Paths) -> None:
    assert opened(paths, {"training": plan(4)}, needed=[]) == {}
    assert not (paths.results / "training.ext4").exists()


def test_without_room_there_is_none_and_it_is_said(paths: Paths) -> None:
    free = (free_bytes(paths.state) - KEPT_FREE) // MIB
    problems = opened(paths, {"training": plan(free + 8), "other": plan(4)})
    assert [*problems] == ["training"]
    assert f"no room for the results of domain training, {free + 8} MiB" in problems["training"]
    assert (paths.results / "other").is_mount()
    assert not (paths.results / "training").exists()
    assert not (paths.results / "training.ext4").exists()


def test_a_power_cut_while_it_is_made_leaves_none_or_a_whole_one(paths: Paths) -> None:
    def cut(argv: Sequence[str], **_: object) -> str:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        ResultVolumes(paths.results, cut).open(
            {"training": plan(4)}, {"training": text_of("training")}, ["training"], ["training"]
        )
    assert not (paths.results / "training.ext4").exists()
    assert opened(paths, {"training": plan(4)}) == {}
    assert as_workload(paths.results / "training", 'open("a", "wb").close(); print("done")') == "done\n"
    assert sorted(path.name for path in paths.results.iterdir()) == ["training", "training.ext4", "training.text.json"]


def test_a_power_cut_while_it_gets_another_size_leaves_the_old_one(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step; the last one takes the new volume."""
    opened(paths, {"training": plan(4)})
    place = paths.results / "training"
    as_workload(place, 'open("a", "wb").write(b"kept")')
    restarted(paths)

    def cut(*_: object, **__: object) -> None:
        raise PowerCutError

    for step in ("os.posix_fallocate", "os.pwrite", "os.chown", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:
            patch.setattr(step, cut)
            with pytest.raises(PowerCutError):
                opened(paths, {"training": plan(16)})
        assert (paths.results / "training.ext4").stat().st_size == 4 * MIB
    opened(paths, {"training": plan(16)})
    assert size(place) > 12 * MIB
    assert (place / "a").read_bytes() == b"kept"


def test_a_power_cut_while_a_workload_writes_leaves_what_it_has_flushed(paths: Paths) -> None:
    """The disk as it is at that moment: nothing was unmounted."""
    opened(paths, {"training": plan(8)})
    place, file = paths.results / "training", paths.results / "training.ext4"
    write = "f = open({!r}, 'wb'); f.write(bytes(100_000)); f.flush(); os.fsync(f.fileno())"
    as_workload(place, write.format("first"))
    as_workload(place, "open('second', 'wb').write(bytes(100_000))")
    cut = file.with_name("cut")
    shutil.copyfile(file, cut)
    restarted(paths)
    cut.rename(file)
    assert opened(paths, {"training": plan(8)}) == {}
    assert (place / "first").read_bytes() == bytes(100_000)
    assert as_workload(place, 'open("third", "wb").close(); print("done")') == "done\n"


def test_no_file_system_is_mounted_that_somebody_but_root_may_have_written(paths: Paths) -> None:
    """The folder above is the agent's: it could put another folder in the place of this."""
    opened(paths, {"training": plan(4)})
    restarted(paths)
    os.chown(paths.results / "training.ext4", STRANGER, STRANGER)
    problems = opened(paths, {"training": plan(4)})
    assert "is not root's" in problems["training"]
    os.chown(paths.results / "training.ext4", 0, 0)
    kept = paths.state / "kept"
    paths.results.rename(kept)
    paths.results.symlink_to(kept)
    assert "is not root's" in opened(paths, {"training": plan(4)})["training"]
    assert not (kept / "training").is_mount()


def test_a_volume_in_the_place_of_another_domains_is_set_aside_and_nothing_of_it_shown(paths: Paths) -> None:
    """Its names are exchanged by who has the disk, its text with it or not."""
    plans = {"clinic": plan(4), "training": plan(4)}
    opened(paths, plans)
    as_workload(paths.results / "training", 'open("patients", "wb").write(b"patient 17")')
    restarted(paths)
    (paths.results / "training.ext4").rename(paths.results / "clinic.ext4")
    problems, lines = said(paths, plans)
    assert problems == {}
    assert lines == ["results clinic: what lay in their place is no volume of this domain. It is set aside."]
    for domain in plans:
        assert (paths.results / domain).is_mount()
        assert not (paths.results / domain / "patients").exists()
    assert [one.text for one in ResultVolumes(paths.results).closed(["clinic"])] == [None]
    (held,) = (paths.results / ".closed").glob("clinic.*.ext4")
    write_durably(held.with_name(f"{held.stem}.text.json"), entrusted_bytes(text_of("clinic")))
    restarted(paths)
    (paths.results / "clinic.ext4").unlink()
    assert said(paths, plans) == ({}, [])
    assert not (paths.results / "clinic/patients").exists()
    held.rename(paths.results / "training.ext4")
    restarted(paths)
    assert said(paths, plans) == ({}, [])
    assert (paths.results / "training/patients").read_bytes() == b"patient 17"


def test_what_stands_in_a_superblock_is_of_the_domain_and_its_text(paths: Paths) -> None:
    """As the specification says it; programs of others read the same."""
    opened(paths, {"training": plan(4)})
    digest = hashlib.sha256((paths.results / "training.text.json").read_bytes()).digest()
    told = run(["blkid", "--probe", "-o", "export", str(paths.results / "training.ext4")]).splitlines()
    assert f"UUID={uuid5(UUID('73b068ed-b894-455e-9a2a-b0342dd1fdfb'), 'training')}" in told
    assert f"LABEL={base64.urlsafe_b64encode(digest[:12]).decode()}" in told


def test_what_is_no_file_system_is_set_aside_and_not_mounted(paths: Paths) -> None:
    opened(paths, {"training": plan(4)})
    restarted(paths)
    (paths.results / "training.ext4").write_bytes(bytes(4 * MIB))
    problems, lines = said(paths, {"training": plan(4)})
    assert (problems, len(lines)) == ({}, 1)
    assert (paths.results / "training").is_mount()
    (held,) = (paths.results / ".closed").glob("*.ext4")
    assert held.stat().st_size == 4 * MIB


def test_a_file_system_that_cannot_be_mounted_stays_and_is_told(paths: Paths) -> None:
    opened(paths, {"training": plan(4)})
    restarted(paths)
    file = paths.results / "training.ext4"
    overwrite(file, 1024 + 0x38, bytes(2))
    problems = opened(paths, {"training": plan(4)})
    assert problems["training"].startswith("mount failed")
    assert (paths.results / "training.ext4").stat().st_size == 4 * MIB
    with pytest.raises(ToolError):
        run(["umount", str(paths.results / "training")])
