"""What domains have on the state volume, on a real ext4: the volume's owner reads none of it and puts nothing in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance import file_encryption, volumes
from sealwright_appliance.boot import BoxState
from sealwright_appliance.flows.closed_files import settle_files
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.file_seals import seal_key
from sealwright_appliance.flows.receiver import Expectation
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import run
from sealwright_appliance.sealed_folders import folder_key, open_sealed_folders
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind
from sealwright_testing.laid_files import SEALS, files_of, lay_in, text_of
from sealwright_testing.running_box import RunningBox
from sealwright_testing.sealed_state import DOMAINS, KEY, opened
from sealwright_testing.state_disk import mounted_state

OTHER = bytes(range(1, 65))
SECRET = b"rows of a hospital "
NAMES = ("results", "adapters", "flows", "retention", "domains/clinic", "domains/oncology")
EXTENTS = 0x80000
"""Flags of an inode that is not encrypted."""

pytestmark = pytest.mark.redteam


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 128):
        yield box


def mounted_again(paths: Paths, tmp_path: Path) -> None:
    """As the owner mounts it, with the recovery key."""
    run(volumes.unmount(paths.state))
    run(volumes.mount(tmp_path / "state-disk", paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))


def lay_down(paths: Paths) -> None:
    for name in NAMES:
        folder = paths.state / name / "patients"
        folder.mkdir()
        (folder / "content").write_bytes(SECRET * 1000)


def test_the_owner_of_the_volume_sees_neither_names_nor_contents(paths: Paths, tmp_path: Path) -> None:
    assert opened(paths) == []
    lay_down(paths)
    (paths.state / "site.json").write_bytes(b"the customer's own")
    mounted_again(paths, tmp_path)
    for name in NAMES:
        (folder,) = (paths.state / name).iterdir()
        assert folder.name != "patients"
        (file,) = folder.iterdir()
        with pytest.raises(OSError, match="Required key not available"):
            file.read_bytes()
        with pytest.raises(OSError, match="Required key not available"):
            (paths.state / name / "mine").write_bytes(b"mine")
    run(volumes.unmount(paths.state))
    disk = (tmp_path / "state-disk").read_bytes()
    assert b"the customer's own" in disk
    assert SECRET not in disk
    assert b"patients" not in disk
    run(volumes.mount(tmp_path / "state-disk", paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))
    assert opened(paths) == []
    assert all((paths.state / name / "patients/content").read_bytes() == SECRET * 1000 for name in NAMES)


def test_what_is_not_under_the_key_is_put_aside(paths: Paths, tmp_path: Path) -> None:
    """A folder of the owner's, plain or under another key; links; one folder in the place of another."""
    opened(paths)
    lay_down(paths)
    mounted_again(paths, tmp_path)
    (paths.state / "flows").rename(paths.state / "was-flows")
    (paths.state / "results").rename(paths.state / "flows")
    (paths.state / "adapters").rename(paths.state / "was-adapters")
    (paths.state / "adapters").mkdir()
    (paths.state / "adapters/crafted").write_bytes(b"crafted")
    (paths.state / "results").symlink_to("was-flows")
    (paths.state / "retention").rename(paths.state / "was-retention")
    (paths.state / "domains/clinic").rename(paths.state / "retention")
    (paths.state / "domains/clinic").symlink_to("../was-retention")
    (paths.state / "domains/oncology").rename(paths.state / "was-oncology")
    (paths.state / "domains/oncology").mkdir()
    (paths.state / "domains/oncology/crafted").write_bytes(b"crafted")
    *said, removed = opened(paths)
    assert removed.endswith("files or folders, 6.")  # the box's own, under other names
    assert sorted(line.split(" is not under this box's key")[0] for line in said) == sorted(
        f"domains: {Path(name).name}" for name in NAMES
    )
    for name in NAMES:
        assert list((paths.state / name).iterdir()) == []
        assert not (paths.state / name).is_symlink()
    asides = [*paths.state.glob("*.aside-*"), *paths.domain_files.glob("*.aside-*")]
    assert sorted(one.name.split(".")[0] for one in asides) == ["adapters", "clinic", "oncology", "results"]
    assert all(one.name in " ".join(said) for one in asides)
    assert opened(paths) == []
    assert not [*paths.state.glob("*aside*"), *paths.domain_files.glob("*aside*")]


def test_one_domain_in_the_place_of_another_is_put_aside(paths: Paths, tmp_path: Path) -> None:
    """Both are the box's own, and their owner the same: the kernel would show each in the other's place."""
    opened(paths)
    lay_down(paths)
    mounted_again(paths, tmp_path)
    one, other = (paths.domain_files / name for name in DOMAINS)
    (one).rename(paths.domain_files / "between")
    other.rename(one)
    (paths.domain_files / "between").rename(other)
    assert len(opened(paths)) == 3  # each put aside, and removed
    assert [list(folder.iterdir()) for folder in (one, other)] == [[], []]


@pytest.mark.parametrize("how", ["encrypted", "link", "file"])
def test_the_folder_above_the_domains_is_plain_or_put_aside(paths: Paths, how: str) -> None:
    """As a box had it that encrypted it whole, or as somebody has made it."""
    paths.results.mkdir()
    if how == "encrypted":
        paths.domain_files.mkdir()
        identifier = file_encryption.add_key(paths.state, folder_key(KEY, "domains"))
        file_encryption.encrypt(paths.domain_files, identifier)
        (paths.domain_files / "content").write_bytes(SECRET)
    elif how == "link":
        paths.domain_files.symlink_to("results")
    else:
        paths.domain_files.write_bytes(b"crafted")
    (said,) = opened(paths)
    assert "domains is not under this box's key" in said
    assert sorted(path.name for path in paths.domain_files.iterdir()) == list(DOMAINS)
    assert opened(paths) == []


def test_a_domain_that_the_release_does_not_have_stays_closed(paths: Paths, tmp_path: Path) -> None:
    opened(paths)
    laid = lay_in(DomainFiles(paths.domain_files, SEALS), "oncology", "rows", SECRET)
    mounted_again(paths, tmp_path)
    open_sealed_folders(paths, KEY, ["clinic"], print)
    files = DomainFiles(paths.domain_files, SEALS)
    assert files.held() == []
    files.finish_removals()
    with pytest.raises(OSError, match="Required key not available"):
        (paths.domain_files / "oncology/crafted").write_bytes(b"crafted")
    assert opened(paths) == []
    assert files.all_files() == [laid]


def test_what_cannot_be_read_keeps_nobody_from_the_rest(paths: Paths, tmp_path: Path) -> None:
    """Folders whose inodes are gone, or lack their mark of encryption: a domain's data sets, a file."""
    opened(paths)
    files = DomainFiles(paths.domain_files, SEALS)
    for domain in DOMAINS:
        for name in ("first", "second", "third"):
            lay_in(files, domain, name, SECRET)
    broken = [
        paths.domain_files / one for one in ("clinic/data-set", "oncology/data-set/first", "oncology/data-set/third")
    ]
    gone, other, plain = (path.stat().st_ino for path in broken)
    run(volumes.unmount(paths.state))
    disk = tmp_path / "state-disk"
    for change in (f"clri <{gone}>", f"clri <{other}>", f"set_inode_field <{plain}> flags {EXTENTS:#x}"):
        run(["debugfs", "-w", "-R", change, str(disk)])
    run(volumes.mount(disk, paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))
    opened(paths)
    for path in broken:
        with pytest.raises(OSError, match=r"Structure needs cleaning|not permitted"):
            path.stat()
    assert [(one.domain, one.name) for one in files.all_files()] == [("oncology", "second")]
    said: list[str] = []
    assert settle_files(files, DOMAINS, {one: text_of(one) for one in DOMAINS}, said.append) >= {"clinic"}
    assert [line for line in said if "clinic" in line]
    files.finish_removals()


def test_another_key_opens_nothing_of_it(paths: Paths, tmp_path: Path) -> None:
    opened(paths)
    lay_down(paths)
    mounted_again(paths, tmp_path)
    assert len(opened(paths, OTHER)) == len(NAMES)
    assert all(list((paths.state / name).iterdir()) == [] for name in NAMES)


def test_a_plain_file_in_an_encrypted_folder_is_not_read(paths: Paths, tmp_path: Path) -> None:
    """The owner can clear an inode's mark of encryption, and write what they like into it."""
    opened(paths)
    lay_down(paths)
    file = paths.domain_files / "oncology/patients/content"
    inode = file.stat().st_ino
    run(volumes.unmount(paths.state))
    disk = tmp_path / "state-disk"
    run(["debugfs", "-w", "-R", f"set_inode_field <{inode}> flags {EXTENTS:#x}", str(disk)])
    run(volumes.mount(disk, paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))
    opened(paths)
    with pytest.raises(PermissionError):
        file.read_bytes()
    assert (paths.results / "patients/content").read_bytes() == SECRET * 1000


def test_a_power_cut_between_making_and_encrypting_is_gone_on_from(paths: Paths) -> None:
    paths.results.mkdir()
    assert opened(paths) == []
    (paths.results / "content").write_bytes(SECRET)
    assert file_encryption.encrypted_under(paths.results) is not None


PLAIN = ("documents", "conversations/0a", "api-keys.json.d")


def link_content(paths: Paths, place: Path) -> None:
    """As the owner does it who cannot read the name: any file of a domain, under its only other name."""
    (content,) = [one for one in (paths.state / "domains/oncology").rglob("*") if one.is_file()]
    place.parent.mkdir(parents=True, exist_ok=True)
    os.link(content, place)


@pytest.mark.parametrize("folder", PLAIN)
def test_a_file_of_a_domain_that_is_linked_among_the_customers_is_removed(
    paths: Paths, tmp_path: Path, folder: str
) -> None:
    """Else a service reads it as one of its own, or writes what its owner chose into a file that has a seal."""
    opened(paths)
    (paths.state / "domains/oncology/content").write_bytes(SECRET)
    mounted_again(paths, tmp_path)
    place = paths.state / folder / "documents.sqlite"
    link_content(paths, place)
    (place.parent / "own.sqlite").write_bytes(b"the customer's own")
    with pytest.raises(OSError, match="Required key not available"):
        place.read_bytes()
    assert opened(paths) == ["domains: what was put there past the box is removed: encrypted files or folders, 1."]
    assert [one.name for one in place.parent.iterdir()] == ["own.sqlite"]
    assert (paths.state / "domains/oncology/content").read_bytes() == SECRET  # the control: the key is there
    assert opened(paths) == []


def test_folders_of_domains_that_are_moved_among_the_customers_are_removed(paths: Paths, tmp_path: Path) -> None:
    """Under a key of the box or of somebody else, at whatever depth, as another domain of no release too."""
    opened(paths)
    lay_down(paths)
    stranger = file_encryption.add_key(paths.state, bytes(64))
    (paths.state / "theirs").mkdir()
    file_encryption.encrypt(paths.state / "theirs", stranger)
    (paths.state / "theirs/content").write_bytes(SECRET)
    mounted_again(paths, tmp_path)
    (paths.state / "documents/a").mkdir(parents=True)
    (paths.state / "results").rename(paths.state / "documents/a/results")
    (paths.state / "domains/clinic").rename(paths.state / "domains/another")
    (paths.state / "documents/link").symlink_to("../domains")
    assert opened(paths) == ["domains: what was put there past the box is removed: encrypted files or folders, 3."]
    assert sorted(one.name for one in (paths.state / "documents").rglob("*")) == ["a", "link"]
    assert sorted(one.name for one in paths.domain_files.iterdir()) == sorted(DOMAINS)
    assert (paths.domain_files / "oncology/patients/content").read_bytes() == SECRET * 1000


def test_where_something_cannot_be_removed_the_kernel_gets_no_key(paths: Paths, tmp_path: Path) -> None:
    """Keys are of the file system: whoever comes to the inode would read it, though the domains are closed."""
    opened(paths)
    (paths.state / "domains/oncology/content").write_bytes(SECRET)
    mounted_again(paths, tmp_path)
    place = paths.state / "documents/documents.sqlite"
    link_content(paths, place)
    run(["chattr", "+i", str(place.parent)])
    with pytest.raises(OperationError, match=r"documents\.sqlite cannot be used: Operation not permitted"):
        opened(paths)
    with pytest.raises(OSError, match="Required key not available"):
        place.read_bytes()
    run(["chattr", "-i", str(place.parent)])
    assert len(opened(paths)) == 1
    assert not place.exists()


def test_a_domain_whose_folder_cannot_be_used_keeps_no_other_closed(paths: Paths, tmp_path: Path) -> None:
    """Somebody's plain one, which cannot be put aside."""
    opened(paths)
    (paths.state / "domains/oncology/content").write_bytes(SECRET)
    mounted_again(paths, tmp_path)
    folder = paths.state / "domains/clinic"
    folder.rmdir()
    folder.mkdir()
    (folder / "crafted").write_bytes(b"crafted")
    run(["chattr", "+i", str(folder)])
    (domain,) = open_sealed_folders(paths, KEY, DOMAINS, print)
    assert domain == "clinic"
    assert (paths.state / "domains/oncology/content").read_bytes() == SECRET
    run(["chattr", "-i", str(folder)])
    assert len(opened(paths)) == 1
    assert list(folder.iterdir()) == []


def test_the_kernel_calls_a_key_what_it_is_known_by_before(paths: Paths) -> None:
    assert file_encryption.add_key(paths.state, KEY) == file_encryption.identifier_of(KEY)


def test_a_domain_that_the_release_has_not_keeps_its_folder(paths: Paths, tmp_path: Path) -> None:
    opened(paths)
    lay_down(paths)
    mounted_again(paths, tmp_path)
    lines: list[str] = []
    open_sealed_folders(paths, KEY, ("clinic",), lines.append)
    assert lines == []
    mounted_again(paths, tmp_path)
    assert opened(paths) == []
    assert (paths.domain_files / "oncology/patients/content").read_bytes() == SECRET * 1000


def test_a_volume_that_cannot_encrypt_folders_says_so(tmp_path: Path) -> None:
    place = Paths(root=Path("/dev/shm") / f"sealwright-{os.getpid()}")
    place.state.mkdir(parents=True)
    try:
        with pytest.raises(OperationError, match="cannot be encrypted"):
            open_sealed_folders(place, KEY, DOMAINS, print)
    finally:
        for folder in (place.state, *list(place.state.parents)[:3]):
            folder.rmdir()


def test_each_folder_has_a_key_of_its_own() -> None:
    """Of a whole folder and of a domain's in it too, whatever their names."""
    ways = [tuple(name.split("/")) for name in NAMES] + [("domains",), ("domainsclinic",), ("clinic", "domains")]
    assert len({folder_key(KEY, *way) for way in ways} | {KEY, seal_key(KEY)}) == len(ways) + 2


def test_a_closed_box_takes_no_file_of_a_domain(paths: Paths, tmp_path: Path) -> None:
    """Before a payload was ever open, and in a boot that opens none; what is there is not listed, and not lost."""
    file = DomainFile(version=1, domain="oncology", kind=FileKind.DATA_SET, name="rows", digest="0" * 64, size=9, at=1)
    files = DomainFiles(paths.domain_files, SEALS)
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
    files, flow = files_of(paths.domain_files, "oncology"), "0f" * 16
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
    flows = running.agent.flows
    assert flows is not None
    with pytest.raises(FlowError, match="closed"):
        flows.receiver.expect(Expectation(source="records", target="oncology", device_id="a" * 52))
    flows.retention.look()
    assert flows.domains().removed == []
    assert "closed" in flows.flows().problem
    assert running.agent.conversations is not None
    running.agent.conversations.look()
    assert not [path for path in (paths.flows, paths.retention, paths.closed) if path.exists()]
