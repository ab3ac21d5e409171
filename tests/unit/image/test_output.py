"""The output folder appears whole or not at all, and never replaces what is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_image import output as names
from sealwright_image.output import partial_output, publish, refuse_existing, remove_stale
from sealwright_policies.errors import OperationError, UsageError


def test_what_is_published_has_the_final_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with partial_output(output) as partial:
        (partial / names.DISK).write_bytes(b"disk")
        assert not output.exists()
        publish(partial, output)
    assert (output / names.DISK).read_bytes() == b"disk"
    assert list(tmp_path.iterdir()) == [output]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with partial_output(tmp_path / "out") as partial:
            (partial / names.DISK).write_bytes(b"half")
            raise OperationError("boom")

    with pytest.raises(OperationError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rebuild_leaves_the_old_image(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / names.DISK).write_bytes(b"old")

    def fail() -> None:
        with partial_output(output):
            raise OperationError("boom")

    with pytest.raises(OperationError):
        fail()
    assert (output / names.DISK).read_bytes() == b"old"


def test_replacing_leaves_no_trace_of_the_old_image(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / names.SBOM).write_bytes(b"old")
    with partial_output(output) as partial:
        (partial / names.DISK).write_bytes(b"new")
        publish(partial, output)
    assert [path.name for path in output.iterdir()] == [names.DISK]
    assert list(tmp_path.iterdir()) == [output]


def test_what_a_killed_build_left_is_removed_and_a_running_one_is_not(tmp_path: Path) -> None:
    output = tmp_path / "out"
    stale = tmp_path / "out.partial-1"
    stale.mkdir()
    (stale / names.DISK).write_bytes(b"half")
    other = tmp_path / "outer.partial-1"
    other.mkdir()
    with partial_output(output) as running:
        assert not stale.exists()
        remove_stale(output)
        assert running.exists()
    assert other.exists()


def test_an_image_caught_between_two_names_comes_back(tmp_path: Path) -> None:
    output, replaced = tmp_path / "out", tmp_path / "out.replaced-1"
    replaced.mkdir()
    (replaced / names.DISK).write_bytes(b"old")
    remove_stale(output)
    assert (output / names.DISK).read_bytes() == b"old"


def test_an_existing_folder_is_refused_without_force(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="--force"):
        refuse_existing(tmp_path / "out", force=False)
    refuse_existing(tmp_path / "out", force=True)
    refuse_existing(tmp_path / "new", force=False)


def test_force_never_replaces_what_no_build_wrote(tmp_path: Path) -> None:
    home, file, link = tmp_path / "home", tmp_path / "file", tmp_path / "link"
    home.mkdir()
    (home / "thesis.txt").touch()
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        refuse_existing(home, force=True)
    for path in (file, link):
        with pytest.raises(UsageError, match="not a folder"):
            refuse_existing(path, force=True)


def test_a_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match="file"), partial_output(tmp_path / "file" / "out"):
        pass
