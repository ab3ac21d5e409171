"""Results that are set aside take what they use of the state volume, and a build counts room for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance import volumes
from sealwright_appliance.domain_texts import DomainTexts
from sealwright_appliance.files import KEPT_FREE, free_bytes
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_volumes import MIB, ResultVolumes
from sealwright_appliance.run import run
from sealwright_image.domains import results_room
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.workloads import ResultsPlan
from sealwright_testing.laid_files import text_of
from sealwright_testing.power_cut import PowerCutError
from sealwright_testing.state_disk import FILL, as_workload, mounted_state

SILENT, ENGINE = text_of("training"), text_of("training", "\n[run]\nengine = true\n")
LUKS_MIB = volumes.DATA_OFFSET // MIB


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 160):
        yield box


def started(paths: Paths, text: EntrustedText | None, mib: int = 32) -> dict[str, str]:
    place = paths.results / "training"
    if place.is_mount():
        run(["umount", str(place)])
    texts = {} if text is None else {"training": text}
    plans = {"training": ResultsPlan(mib=mib, days=30)}
    return ResultVolumes(paths.results).open(plans, texts, ["training"], ["training"])


def taken(paths: Paths) -> int:
    (one,) = ResultVolumes(paths.results).closed(["training"])
    return -(-one.taken // MIB)


def write(paths: Paths, mib: int) -> None:
    as_workload(paths.results / "training", f"open('written', 'wb').write(os.urandom({mib} << 20))")


@pytest.mark.parametrize("state_mib", [160, 256, 408, 512, 528, 1024, 4096, 65_536])
def test_a_state_volume_has_the_room_that_a_build_counts_on(tmp_path: Path, state_mib: int) -> None:
    with mounted_state(tmp_path, tmp_path / "state", state_mib - LUKS_MIB):
        assert free_bytes(tmp_path / "state") - KEPT_FREE >= results_room(state_mib) * MIB


def test_where_a_build_was_accepted_a_wider_release_has_its_workloads_run(tmp_path: Path) -> None:
    """What was there is full, so nothing of it is given back."""
    paths, state_mib = Paths(root=tmp_path / "box"), 512
    mib = results_room(state_mib) // 2
    with mounted_state(tmp_path, paths.state, state_mib - LUKS_MIB):
        assert started(paths, SILENT, mib) == {}
        as_workload(paths.results / "training", FILL)
        assert started(paths, ENGINE, mib) == {}
        assert (paths.results / "training").is_mount()
        assert as_workload(paths.results / "training", FILL).split()[0] == "ENOSPC"
        assert taken(paths) > mib - mib // 8


def test_what_is_set_aside_gives_back_what_it_does_not_use(paths: Paths) -> None:
    started(paths, SILENT)
    write(paths, 20)
    (paths.results / "training/written").unlink()
    write(paths, 3)
    content = (paths.results / "training/written").read_bytes()
    os.sync()
    before = free_bytes(paths.state)
    assert started(paths, ENGINE) == {}
    assert 3 <= taken(paths) < 12
    assert before - free_bytes(paths.state) < 12 * MIB
    assert started(paths, SILENT) == {}
    assert (paths.results / "training/written").read_bytes() == content
    run(["umount", str(paths.results / "training")])
    run(["e2fsck", "-f", "-n", str(paths.results / "training.ext4")])


def test_one_that_comes_back_has_all_of_its_blocks_before_a_workload_writes(paths: Paths) -> None:
    started(paths, SILENT)
    started(paths, ENGINE)
    assert started(paths, SILENT) == {}
    os.sync()
    before = free_bytes(paths.state)
    error, written = as_workload(paths.results / "training", FILL).split()
    os.sync()
    assert (error, int(written) > 24 * MIB) == ("ENOSPC", True)
    assert before - free_bytes(paths.state) < MIB


def test_one_that_has_no_room_to_come_back_stays_aside(paths: Paths) -> None:
    started(paths, SILENT)
    write(paths, 3)
    started(paths, ENGINE)
    run(["umount", str(paths.results / "training")])
    (paths.results / "training.ext4").unlink()
    (paths.state / "other").write_bytes(bytes(free_bytes(paths.state) - KEPT_FREE - 4 * MIB))
    dated = [path.stat().st_mtime_ns for path in (paths.results / ".closed").glob("*.ext4")]
    sentence = started(paths, SILENT)["training"]
    assert "no room for the results of domain training, 32 MiB" in sentence
    assert f"Results that are set aside take {taken(paths)} MiB until their days are over." in sentence
    assert [path.stat().st_mtime_ns for path in (paths.results / ".closed").glob("*.ext4")] == dated
    (paths.state / "other").unlink()
    assert started(paths, SILENT) == {}
    assert (paths.results / "training/written").stat().st_size == 3 << 20


def test_a_power_cut_once_blocks_are_given_back_leaves_a_volume_that_gets_them_again(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release before may start next: the volume is still its own."""
    started(paths, SILENT)
    write(paths, 3)

    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(ResultVolumes, "_set_aside", cut)
        with pytest.raises(PowerCutError):
            started(paths, ENGINE)
    volume = paths.results / "training.ext4"
    assert volume.stat().st_blocks * 512 < 16 * MIB
    assert started(paths, SILENT) == {}
    assert volume.stat().st_blocks * 512 >= 32 * MIB
    assert (paths.results / "training/written").stat().st_size == 3 << 20


def test_no_kernel_zeroes_the_tables_of_a_new_volume(paths: Paths) -> None:
    """Through a loop device it gives their blocks back, and the state volume may not have them when they are used."""
    started(paths, SILENT)
    told = run(["dumpe2fs", str(paths.results / "training.ext4")]).splitlines()
    groups = [line for line in told if line.startswith("Group ") and ":" in line[:9]]
    assert len(groups) == 4
    assert all("ITABLE_ZEROED" in line for line in groups)
    assert (paths.results / "training.ext4").stat().st_blocks * 512 >= 32 * MIB


def test_holes_in_a_volume_that_is_in_its_place_are_filled_of_what_is_kept_free(paths: Paths) -> None:
    """The blocks were its own; a workload that takes them later would take them of the leases."""
    started(paths, SILENT)
    run(["umount", str(paths.results / "training")])
    volume = paths.results / "training.ext4"
    run(["fallocate", "--punch-hole", "--offset", "30MiB", "--length", "1MiB", str(volume)])
    (paths.state / "other").write_bytes(bytes(free_bytes(paths.state) - KEPT_FREE // 2))
    assert started(paths, SILENT) == {}
    assert volume.stat().st_blocks * 512 >= 32 * MIB


def test_where_no_other_is_made_it_keeps_its_blocks(paths: Paths) -> None:
    """Of a domain that the box may not open for now: nobody takes the room from it."""
    started(paths, SILENT)
    assert "cannot be read" in started(paths, None)["training"]
    assert taken(paths) >= 32


def test_the_box_says_what_is_aside_takes_and_when_it_goes(paths: Paths) -> None:
    started(paths, SILENT, 24)
    write(paths, 3)
    assert started(paths, ENGINE) == {}
    write(paths, 20)
    assert started(paths, ENGINE, 16) == {}
    texts = DomainTexts(["training"], {"training": ENGINE}, {})
    told = {one.code: one.sentence for one in texts.kept_closed(paths, DomainFiles.none(paths))}
    takes = {one.size // MIB: -(-one.taken // MIB) for one in ResultVolumes(paths.results).closed(["training"])}
    days = max(1, SILENT.domain.retention.results_days)
    assert {*takes} == {24, 32}
    assert told["DOMAIN_CHANGED"].endswith(
        f"They take {takes[24]} MiB of the state volume, and go when their days are over ({days} at most)."
    )
    assert told["RESULTS_ASIDE"] == (
        "Another volume is in their place, as not all of them had room in it or could be read. They open again under a"
        " release that gives them 32 MiB as before, until their days are over."
        f" They take {takes[32]} MiB of the state volume, and go when their days are over ({days} at most)."
    )
