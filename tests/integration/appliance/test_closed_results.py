"""A volume of results that was written under another text of its domain is set aside, on a disk that is mounted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sealwright_appliance.files import KEPT_FREE, free_bytes
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import forget_closed
from sealwright_appliance.result_superblock import UUID_AT, UUID_SIZE
from sealwright_appliance.result_volumes import MIB, ResultVolumes
from sealwright_appliance.run import run
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.lease import DAY_S
from sealwright_policies.workloads import ResultsPlan
from sealwright_testing.laid_files import text_of
from sealwright_testing.power_cut import power_cut_at
from sealwright_testing.state_disk import STRANGER, as_workload, mounted_state

SILENT, ENGINE = text_of("training"), text_of("training", "\n[run]\nengine = true\n")
BRIEF = text_of("training", "\n[run]\nengine = true\n\n[retention]\nresults_days = 2\n")
WIDEST = text_of("training", "\n[run]\nengine = true\nwritable_code = true\n")
PLANS = {"training": ResultsPlan(mib=4, days=9)}


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 96):
        yield box


def started(paths: Paths, text: EntrustedText | None) -> dict[str, str]:
    """A start of a release in which the domain says this; why there is no volume."""
    place = paths.results / "training"
    if place.is_mount():
        run(["umount", str(place)])
    return ResultVolumes(paths.results).open(
        PLANS, {} if text is None else {"training": text}, ["training"], ["training"]
    )


def wrote(paths: Paths, name: str) -> None:
    as_workload(paths.results / "training", f"open({name!r}, 'wb').write(b'patient 17')")


def there(paths: Paths) -> list[str]:
    place = paths.results / "training"
    assert place.is_mount()
    return sorted(path.name for path in place.iterdir() if path.name != "lost+found")


def aside(paths: Paths) -> list[EntrustedText | None]:
    return [one.text for one in ResultVolumes(paths.results).closed(["training"])]


def test_a_wider_text_gets_an_empty_volume_and_its_own_the_old_one_again(paths: Paths) -> None:
    assert started(paths, SILENT) == {}
    wrote(paths, "under-silent")
    assert started(paths, ENGINE) == {}
    assert (there(paths), aside(paths)) == ([], [SILENT])
    wrote(paths, "under-engine")
    assert started(paths, ENGINE) == {}
    assert there(paths) == ["under-engine"]
    assert started(paths, SILENT) == {}
    assert (there(paths), aside(paths)) == (["under-silent"], [ENGINE])
    assert started(paths, ENGINE) == {}
    assert (there(paths), aside(paths)) == (["under-engine"], [SILENT])


def test_what_was_written_under_a_narrower_text_is_not_for_the_wider_one_before_it(paths: Paths) -> None:
    started(paths, ENGINE)
    started(paths, SILENT)
    wrote(paths, "under-silent")
    assert started(paths, ENGINE) == {}
    assert (there(paths), aside(paths)) == ([], [SILENT])


@pytest.mark.parametrize("content", [None, b"{}", bytes(200_000)])
def test_without_a_text_that_can_be_read_a_volume_opens_for_its_own_alone(paths: Paths, content: bytes | None) -> None:
    """It says itself which one that is; a power cut may have come before the text was kept."""
    started(paths, SILENT)
    wrote(paths, "older")
    text = paths.results / "training.text.json"
    for after, left in ((SILENT, ["older"]), (ENGINE, [])):
        if content is None:
            text.unlink()
        else:
            text.write_bytes(content)
        assert started(paths, after) == {}
        assert there(paths) == left
    assert aside(paths) == [None]


def test_a_volume_that_was_made_before_they_were_marked_is_set_aside(paths: Paths) -> None:
    started(paths, SILENT)
    wrote(paths, "older")
    run(["umount", str(paths.results / "training")])
    with (paths.results / "training.ext4").open("r+b") as volume:
        volume.seek(UUID_AT)
        volume.write(os.urandom(UUID_SIZE))
    assert started(paths, SILENT) == {}
    assert (there(paths), aside(paths)) == ([], [None])


def test_a_text_that_is_not_the_volumes_own_opens_nothing(paths: Paths) -> None:
    """Names are exchanged by who has the disk: of a text from before, or of the volumes of one domain."""
    started(paths, ENGINE)
    wider = (paths.results / "training.text.json").read_bytes()
    started(paths, SILENT)
    wrote(paths, "under-silent")
    (paths.results / "training.text.json").write_bytes(wider)
    assert started(paths, ENGINE) == {}
    assert (there(paths), aside(paths)) == ([], [None])
    wrote(paths, "under-engine")
    run(["umount", str(paths.results / "training")])
    (held,) = (paths.results / ".closed").glob("*.ext4")
    (paths.results / "training.ext4").rename(paths.results / "kept")
    held.rename(paths.results / "training.ext4")
    assert started(paths, ENGINE) == {}
    assert (there(paths), aside(paths)) == ([], [None])
    run(["umount", str(paths.results / "training")])
    (held,) = (paths.results / ".closed").glob("*.ext4")
    held.rename(paths.results / "training.ext4")
    assert started(paths, SILENT) == {}
    assert there(paths) == ["under-silent"]


def test_where_the_release_does_not_say_what_its_domain_is_nothing_is_mounted(paths: Paths) -> None:
    started(paths, SILENT)
    wrote(paths, "kept")
    assert "cannot be read" in started(paths, None)["training"]
    assert not (paths.results / "training").is_mount()
    assert started(paths, SILENT) == {}
    assert there(paths) == ["kept"]


def test_without_room_for_a_new_one_the_old_one_stays_aside_and_it_is_told(paths: Paths) -> None:
    started(paths, SILENT)
    (paths.state / "other").write_bytes(bytes(free_bytes(paths.state) - KEPT_FREE - MIB))
    assert "no room" in started(paths, ENGINE)["training"]
    assert not (paths.results / "training").is_mount()
    assert started(paths, SILENT) == {}


def test_a_volume_aside_goes_by_the_fewer_days(paths: Paths) -> None:
    started(paths, BRIEF)
    started(paths, WIDEST)
    assert aside(paths) == [BRIEF]
    for days, left in ((0, 1), (1.9, 1), (2, 0)):
        forget_closed(paths.results, PLANS, int(days * DAY_S))
        assert len(aside(paths)) == left
    assert [*(paths.results / ".closed").iterdir()] == []


def test_one_that_cannot_be_read_or_removed_keeps_no_other(paths: Paths) -> None:
    """Texts that nobody can read leave the days of the release; a disk that refuses is told."""
    started(paths, BRIEF)
    started(paths, WIDEST)
    (first,) = (paths.results / ".closed").glob("*.ext4")
    (paths.results / ".closed" / f"{first.stem}.text.json").unlink()
    (paths.results / ".closed" / f"{first.stem}.text.json").mkdir()
    for name in ("training.00000000000000aa.ext4", "training.00000000000000ff.ext4"):
        (first.parent / name).mkdir()
    for days, left in ((0, 3), (8.9, 3), (9, 2)):
        with suppress(OperationError):
            forget_closed(paths.results, PLANS, int(days * DAY_S))
        assert len(aside(paths)) == left
    assert not first.exists()
    with pytest.raises(OperationError):
        forget_closed(paths.results, PLANS, 9 * DAY_S)


def test_one_that_cannot_be_dated_stays_and_is_dated_when_there_is_room(paths: Paths) -> None:
    """On a full disk there is none for a date beside the inode, where other attributes have taken what it has."""
    started(paths, ENGINE)
    started(paths, WIDEST)
    (volume,) = (paths.results / ".closed").glob("*.ext4")
    os.setxattr(volume, "user.x", bytes(40))
    filling = paths.state / "filling"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))
    for days in (0, 30):
        with pytest.raises(OperationError, match="cannot be dated: No space left on device"):
            forget_closed(paths.results, PLANS, days * DAY_S)
        assert aside(paths) == [ENGINE]
    filling.unlink()
    for hours, left in ((0, 1), (23, 1), (24, 0)):
        forget_closed(paths.results, PLANS, 30 * DAY_S + hours * 3600)
        assert len(aside(paths)) == left


def test_no_volume_aside_is_taken_back_that_somebody_but_root_may_have_written(paths: Paths) -> None:
    started(paths, SILENT)
    started(paths, ENGINE)
    run(["umount", str(paths.results / "training")])
    (paths.results / "training.ext4").unlink()
    (closed,) = (paths.results / ".closed").glob("*.ext4")
    os.chown(closed, STRANGER, STRANGER)
    assert "is not root's" in started(paths, SILENT)["training"]


@pytest.mark.parametrize("cut_at", range(8))
@pytest.mark.parametrize("way", ["aside", "back", "on"])
def test_a_power_cut_at_any_flush_or_rename_leaves_what_goes_on(paths: Paths, way: str, cut_at: int) -> None:
    """No text that is wider than the volume's own is ever at it; what was written is aside or in its place."""
    started(paths, ENGINE if way == "on" else SILENT)
    wrote(paths, "kept")
    if way == "back":
        started(paths, ENGINE)
        run(["umount", str(paths.results / "training")])
        (paths.results / "training.ext4").unlink()
    after = {"aside": ENGINE, "back": SILENT, "on": SILENT}[way]
    with power_cut_at(cut_at):
        started(paths, after)
    assert started(paths, after) == {}
    assert there(paths) == ([] if way == "aside" else ["kept"])
    assert aside(paths) == ([SILENT] if way == "aside" else [])
    assert started(paths, SILENT) == {}
    assert there(paths) == ["kept"]
