"""What domains have on the state volume, on a real ext4: the volume's owner reads none of it and puts nothing in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance import file_encryption, volumes
from sealwright_appliance.boot import BoxState
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import run
from sealwright_appliance.sealed_folders import folder_key, open_sealed_folders
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind
from sealwright_testing.laid_files import lay_in, text_of
from sealwright_testing.running_box import RunningBox
from sealwright_testing.state_disk import mounted_state

KEY, OTHER = bytes(range(64)), bytes(range(1, 65))
SECRET = b"rows of a hospital "
NAMES = ("domains", "results", "adapters")
EXTENTS = 0x80000
"""Flags of an inode that is not encrypted."""

pytestmark = pytest.mark.redteam


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 128):
        yield box


def opened(paths: Paths, key: bytes = KEY) -> list[str]:
    """As at a boot; what was said."""
    lines: list[str] = []
    open_sealed_folders(paths, key, lines.append)
    return lines


def mounted_again(paths: Paths, tmp_path: Path) -> None:
    """As the owner mounts it, with the recovery key."""
    run(volumes.unmount(paths.state))
    run(volumes.mount(tmp_path / "state-disk", paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))


def lay_down(paths: Paths) -> None:
    for name in NAMES:
        folder = paths.state / name / "oncology"
        folder.mkdir()
        (folder / "content").write_bytes(SECRET * 1000)


def test_the_owner_of_the_volume_sees_neither_names_nor_contents(paths: Paths, tmp_path: Path) -> None:
    assert opened(paths) == []
    lay_down(paths)
    (paths.state / "site.json").write_bytes(b"the customer's own")
    mounted_again(paths, tmp_path)
    for name in NAMES:
        (folder,) = (paths.state / name).iterdir()
        assert folder.name != "oncology"
        (file,) = folder.iterdir()
        with pytest.raises(OSError, match="Required key not available"):
            file.read_bytes()
        with pytest.raises(OSError, match="Required key not available"):
            (paths.state / name / "mine").write_bytes(b"mine")
    run(volumes.unmount(paths.state))
    disk = (tmp_path / "state-disk").read_bytes()
    assert b"the customer's own" in disk
    assert SECRET not in disk
    assert b"oncology" not in disk
    run(volumes.mount(tmp_path / "state-disk", paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))
    assert opened(paths) == []
    assert all((paths.state / name / "oncology/content").read_bytes() == SECRET * 1000 for name in NAMES)


def test_what_is_not_under_the_key_is_put_aside(paths: Paths, tmp_path: Path) -> None:
    """A folder of the owner's, plain or under another key; links; one folder in the place of another."""
    opened(paths)
    lay_down(paths)
    mounted_again(paths, tmp_path)
    (paths.state / "domains").rename(paths.state / "was-domains")
    (paths.state / "results").rename(paths.state / "domains")
    (paths.state / "adapters").rename(paths.state / "was-adapters")
    (paths.state / "adapters").mkdir()
    (paths.state / "adapters/crafted").write_bytes(b"crafted")
    (paths.state / "results").symlink_to("was-domains")
    said = opened(paths)
    assert [line.split(" is not under this box's key")[0] for line in said] == [f"domains: {name}" for name in NAMES]
    for name in NAMES:
        assert list((paths.state / name).iterdir()) == []
        assert not (paths.state / name).is_symlink()
        (aside,) = paths.state.glob(f"{name}.aside-*")
        assert aside.name in " ".join(said)
    assert opened(paths) == []


def test_another_key_opens_nothing_of_it(paths: Paths, tmp_path: Path) -> None:
    opened(paths)
    lay_down(paths)
    mounted_again(paths, tmp_path)
    assert len(opened(paths, OTHER)) == 3
    assert all(list((paths.state / name).iterdir()) == [] for name in NAMES)


def test_a_plain_file_in_an_encrypted_folder_is_not_read(paths: Paths, tmp_path: Path) -> None:
    """The owner can clear an inode's mark of encryption, and write what they like into it."""
    opened(paths)
    lay_down(paths)
    file = paths.domain_files / "oncology/content"
    inode = file.stat().st_ino
    run(volumes.unmount(paths.state))
    disk = tmp_path / "state-disk"
    run(["debugfs", "-w", "-R", f"set_inode_field <{inode}> flags {EXTENTS:#x}", str(disk)])
    run(volumes.mount(disk, paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))
    opened(paths)
    with pytest.raises(PermissionError):
        file.read_bytes()
    assert (paths.results / "oncology/content").read_bytes() == SECRET * 1000


def test_a_power_cut_between_making_and_encrypting_is_gone_on_from(paths: Paths) -> None:
    paths.results.mkdir()
    assert opened(paths) == []
    (paths.results / "content").write_bytes(SECRET)
    assert file_encryption.encrypted_under(paths.results) is not None


def test_a_volume_that_cannot_encrypt_folders_says_so(tmp_path: Path) -> None:
    place = Paths(root=Path("/dev/shm") / f"sealwright-{os.getpid()}")
    place.state.mkdir(parents=True)
    try:
        with pytest.raises(OperationError, match="cannot be encrypted"):
            open_sealed_folders(place, KEY, print)
    finally:
        for folder in (place.state, *list(place.state.parents)[:3]):
            folder.rmdir()


def test_each_folder_has_a_key_of_its_own() -> None:
    assert len({folder_key(KEY, name) for name in NAMES} | {KEY}) == 4


def test_a_closed_box_takes_no_file_of_a_domain(paths: Paths, tmp_path: Path) -> None:
    """Before a payload was ever open, and in a boot that opens none; what is there is not listed, and not lost."""
    file = DomainFile(version=1, domain="oncology", kind=FileKind.DATA_SET, name="rows", digest="0" * 64, size=9, at=1)
    files = DomainFiles(paths.domain_files)
    with pytest.raises(FlowError, match="closed"):
        files.incoming("import-1", file, text_of("oncology"))
    opened(paths)
    files.incoming("import-1", file, text_of("oncology"))
    mounted_again(paths, tmp_path)
    assert files.all_files() == []
    files.finish_removals()
    with pytest.raises(OperationError, match="Required key not available"):
        files.incoming("import-2", file, text_of("oncology"))
    opened(paths)
    assert (paths.domain_files / "oncology/.incoming/import-1/about.json").exists()


def test_a_boot_that_has_not_opened_them_lists_and_sends_nothing_that_lies_there(running: RunningBox) -> None:
    """A locked box does not look whose the folders are; its agent runs, and has a certificate to send files under."""
    running.serve()
    paths = running.simulated.paths
    paths.domain_files.mkdir()
    files, flow = DomainFiles(paths.domain_files), "0f" * 16
    laid = lay_in(files, "oncology", "crafted", b"GGUF", kind=FileKind.ADAPTER, flow_id=flow)

    def of_a_boot(state: BoxState) -> DomainFiles:
        running.start_agent(state)
        assert running.agent.flows is not None
        return running.agent.flows.files

    assert of_a_boot(BoxState.UNLOCKED).all_files() == [laid]
    closed = of_a_boot(BoxState.LOCKED)
    assert closed.all_files() == []
    with pytest.raises(FlowError, match="no adapter named crafted"):
        closed.find("oncology", FileKind.ADAPTER, "crafted")
    with pytest.raises(OperationError, match="cannot be read"):
        closed.read_frame(laid, 0)
    with pytest.raises(FlowError, match="closed"):
        closed.incoming("import-1", laid, text_of("oncology"))
