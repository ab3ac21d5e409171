"""Files of domains that the volume's owner has put to other places, while the box was off: none is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance import volumes
from sealwright_appliance.flows.closed_files import settle_files
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.paths import Paths
from sealwright_appliance.results import _received
from sealwright_appliance.run import run
from sealwright_policies.domains.entrusted import entrusted_bytes
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan
from sealwright_testing.laid_files import SEALS, lay_in, text_of
from sealwright_testing.relinked import exchange, without_checksums
from sealwright_testing.sealed_state import DOMAINS, opened
from sealwright_testing.state_disk import mounted_state

SECRET = b"rows of a hospital "

pytestmark = pytest.mark.redteam


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box whose state volume is mounted."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 128):
        yield box


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
