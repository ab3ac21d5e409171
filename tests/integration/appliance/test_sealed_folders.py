"""What domains have on the state volume, on a real ext4: the volume's owner reads none of it and puts nothing in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance import file_encryption, volumes
from sealwright_appliance.boot import BoxState
from sealwright_appliance.flows.closed_files import settle_files
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.file_seals import seal_key
from sealwright_appliance.flows.receiver import Expectation
from sealwright_appliance.paths import Paths
from sealwright_appliance.results import _received
from sealwright_appliance.run import run
from sealwright_appliance.sealed_folders import folder_key, open_sealed_folders
from sealwright_policies.domains.entrusted import entrusted_bytes
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan
from sealwright_testing.laid_files import SEALS, files_of, lay_in, text_of
from sealwright_testing.relinked import exchange, without_checksums
from sealwright_testing.running_box import RunningBox
from sealwright_testing.state_disk import mounted_state

KEY, OTHER = bytes(range(64)), bytes(range(1, 65))
SECRET = b"rows of a hospital "
DOMAINS = ("clinic", "oncology")
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


def opened(paths: Paths, key: bytes = KEY) -> list[str]:
    """As at a boot; what was said."""
    lines: list[str] = []
    open_sealed_folders(paths, key, DOMAINS, lines.append)
    return lines


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


class Volume:
    """Files of two domains, and their owner, who changes the disk while the box is off."""

    def __init__(self, paths: Paths, disk: Path) -> None:
        self.paths, self.disk = paths, disk
        opened(paths)
        self.files = DomainFiles(paths.domain_files, SEALS)

    def lay(self, domain: str, name: str, content: bytes, **more: Any) -> DomainFile:
        return lay_in(self.files, domain, name, content, flow_id="0f" * 16, **more)

    def exchange(self, *pairs: tuple[str, str]) -> list[str]:
        """Exchange places in the folder of domains; what was said at the boot behind it."""
        found = []
        for pair in pairs:
            paths = [self.paths.domain_files / place for place in pair]
            found.append([(path.parent.stat().st_ino, path.stat().st_ino) for path in paths])
        run(volumes.unmount(self.paths.state))
        without_checksums(self.disk)
        for one, other in found:
            exchange(self.disk, one, other)
        run(volumes.mount(self.disk, self.paths.state, "ext4", f"loop,{volumes.READ_WRITE}"))
        return opened(self.paths)

    def settle(self) -> list[str]:
        """As a boot does, with the same texts."""
        said: list[str] = []
        assert settle_files(self.files, DOMAINS, {one: text_of(one) for one in DOMAINS}, said.append) == set()
        return said

    def shown(self, domain: str = "clinic") -> list[str]:
        """Data sets as a workload sees them, who is given all of their folder."""
        return sorted(path.name for path in (self.paths.domain_files / domain / "data-set").iterdir())


@pytest.fixture
def volume(paths: Paths, tmp_path: Path) -> Volume:
    return Volume(paths, tmp_path / "state-disk")


def test_an_owner_who_relinks_a_domain_in_the_place_of_another_reads_nothing_of_it(volume: Volume) -> None:
    volume.lay("oncology", "x", b"rows of oncology")
    volume.lay("clinic", "x", b"rows of the clinic")
    said = volume.exchange(("clinic", "oncology"))
    assert len(said) == 3
    assert volume.files.all_files() == []
    assert [list((volume.paths.domain_files / domain).iterdir()) for domain in DOMAINS] == [[], []]


def test_what_lies_deeper_cannot_be_relinked_into_another_domain_either(volume: Volume) -> None:
    """The kernel shows nothing in a folder under another key."""
    volume.lay("oncology", "x", b"rows of oncology")
    volume.lay("clinic", "x", b"rows of the clinic")
    assert volume.exchange(("clinic/data-set/x/content", "oncology/data-set/x/content")) == []
    for domain in DOMAINS:
        with pytest.raises(PermissionError):
            (volume.paths.domain_files / domain / "data-set/x/content").read_bytes()
    assert volume.files.all_files() == []


def test_what_the_customer_put_in_is_never_taken_for_what_the_box_says_of_a_file(volume: Volume) -> None:
    """Contents of data sets are their own: relinked to where the box writes what a file is, and its text."""
    evil = b"GGUF made by the customer"
    digest = hashlib.sha256(evil).hexdigest()
    name = made_name("tuned", FileKind.ADAPTER, digest)
    about = DomainFile(
        version=1, domain="clinic", kind=FileKind.ADAPTER, name=name, digest=digest, size=len(evil), at=1,
        flow_id="0f" * 16,
    )  # fmt: skip
    volume.lay("clinic", "a", evil)
    volume.lay("clinic", "b", document_bytes(about))
    volume.lay("clinic", "d", entrusted_bytes(text_of("oncology")))
    at = "clinic/data-set/"
    volume.exchange(
        (f"{at}a/about.json", f"{at}b/content"), (f"{at}a/text.json", f"{at}d/content")
    )  # fmt: skip
    assert (volume.paths.domain_files / f"{at}a/about.json").read_bytes() == document_bytes(about)  # the control
    assert volume.files.held() == []
    with pytest.raises(FlowError, match="no data-set named a"):
        volume.files.find("clinic", FileKind.DATA_SET, "a")
    plan = AdapterPlan(domain="clinic", base="medical")
    assert _received(volume.files, "tuned", plan) is None
    said = volume.settle()
    assert [line.split(" has no seal")[0] for line in said] == [
        f"domains: data-set/{one} of clinic" for one in ("a", "b", "d")
    ]
    assert volume.shown() == []


def test_a_file_in_the_place_of_another_of_its_domain_is_none(volume: Volume) -> None:
    for name in ("a", "b", "c"):
        volume.lay("clinic", name, name.encode())
    volume.exchange(("clinic/data-set/a", "clinic/data-set/b"))
    assert [one.name for one in volume.files.all_files()] == ["c"]
    with pytest.raises(FlowError, match="no data-set named a"):
        volume.files.find("clinic", FileKind.DATA_SET, "a")
    assert len(volume.settle()) == 2
    assert volume.shown() == ["c"]


@pytest.mark.parametrize("part", ["about.json", "text.json", "content", "seal"])
def test_parts_of_two_files_of_a_domain_cannot_be_exchanged(volume: Volume, part: str) -> None:
    """Of one domain, so under one key: what stays closed would be read as the content of what is open."""
    laid = {name: volume.lay("clinic", name, name.encode() * 9) for name in ("a", "b", "c")}
    lay_in(volume.files, "clinic", "b2", b"b", text=text_of("clinic", "\n[run]\nengine = true\n"))
    volume.exchange((f"clinic/data-set/a/{part}", f"clinic/data-set/b2/{part}"))
    assert volume.files.all_files() == [laid["b"], laid["c"]]
    volume.settle()
    assert volume.shown() == ["b", "c"]


def test_a_date_of_another_file_is_none(volume: Volume) -> None:
    for name, at in (("a", 5), ("b", 9)):
        volume.lay("clinic", name, name.encode())
        held = next(one for one in volume.files.placed() if one.file.name == name)
        assert volume.files.since(held, at) == at
    volume.exchange(("clinic/data-set/a/since.json", "clinic/data-set/b/since.json"))
    assert [volume.files.seen(one) for one in volume.files.placed()] == [None, None]
    assert len(volume.settle()) == 2
    assert [volume.files.since(one, 11) for one in volume.files.placed()] == [11, 11]


def test_what_only_began_is_not_believed_in_the_place_of_a_whole_file(volume: Volume) -> None:
    volume.lay("clinic", "a", b"a")
    other = DomainFile(version=1, domain="clinic", kind=FileKind.DATA_SET, name="b", digest="0" * 64, size=9, at=1)
    volume.files.incoming("import-b", other, text_of("clinic"))
    (volume.paths.domain_files / "clinic/.incoming/import-b").rename(volume.paths.domain_files / "clinic/data-set/b")
    assert [one.name for one in volume.files.all_files()] == ["a"]
    volume.settle()
    assert volume.shown() == ["a"]


def test_what_is_kept_closed_is_not_opened_as_a_file_that_the_customer_begins_to_put_in(volume: Volume) -> None:
    """Its size and digest are listed: a file that is announced with them, and whose content is exchanged for it."""
    narrow, wide = text_of("clinic"), text_of("clinic", "\n[run]\nengine = true\n")
    volume.lay("clinic", "theirs", SECRET, text=narrow)
    (held,) = volume.files.placed()
    volume.files.close(held)
    order = held.file.model_copy(update={"name": "mine", "flow_id": None})
    volume.files.incoming("import-1", order, wide).append(0, b"?" * order.size)
    closed = held.folder.relative_to(volume.paths.domain_files).parts
    assert closed == ("clinic", "data-set", "theirs")
    volume.exchange(("clinic/.incoming/import-1/content", "clinic/.closed/data-set/theirs/content"))
    anew = volume.files.incoming("import-1", order, wide)
    assert anew.next_frame == 0  # nothing of it is believed
    with pytest.raises(FlowError, match="comes next"):
        anew.verify()
