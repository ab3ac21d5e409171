"""What workloads have written goes when its days are over, on a volume that is really mounted."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sealwright_appliance import volume_service
from sealwright_appliance.flows.made_files import keep_made_files
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import SINCE, forget_results
from sealwright_appliance.result_volumes import ResultVolumes
from sealwright_appliance.results import lay_out_adapters
from sealwright_appliance.run import ToolError, run
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_appliance.volume_service import VolumeService
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.lease import DAY_S
from sealwright_policies.workloads import AdapterPlan, ReleaseWorkloads, ResultsPlan
from sealwright_testing.laid_files import files_of, lay_in, text_of
from sealwright_testing.state_disk import FILL, as_workload, mounted_state

START = 1_800_000_000
PLANS = {"training": ResultsPlan(mib=4, days=2), "brief": ResultsPlan(mib=4, days=0)}


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    """A box with volumes of two domains."""
    box = Paths(root=tmp_path / "box")
    with mounted_state(tmp_path, box.state, 96):
        files_of(box.domain_files, "training")
        ResultVolumes(box.results).open(PLANS, {name: text_of(name) for name in PLANS}, [*PLANS], [*PLANS])
        yield box


def looked(paths: Paths, days: float) -> list[str]:
    """What is there when the calendar has gone on by so many days and all was looked at."""
    forget_results(paths.results, PLANS, START + int(days * DAY_S))
    return there(paths.results / "training")


def there(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.name != "lost+found")


def test_a_file_goes_when_its_days_are_over_whatever_the_workload_says_of_its_age(paths: Paths) -> None:
    place = paths.results / "training"
    as_workload(place, 'os.mkdir("run", 0o700); open("run/a", "wb").write(b"x"); os.utime("run/a", (2**33, 2**33))')
    assert looked(paths, 0) == ["run", "run/a"]
    as_workload(place, 'open("b", "wb").write(b"x")')
    assert looked(paths, 1.9) == ["b", "run", "run/a"]
    assert looked(paths, 2) == ["b"]
    assert looked(paths, 3.8) == ["b"]
    assert looked(paths, 3.9) == []


def test_what_a_run_changes_counts_from_then(paths: Paths) -> None:
    place = paths.results / "training"
    as_workload(place, 'open("same", "wb").write(b"x"); open("changed", "wb").write(b"x")')
    looked(paths, 0)
    as_workload(place, 'open("changed", "r+b").write(b"y")')
    assert looked(paths, 1) == ["changed", "same"]
    assert looked(paths, 2) == ["changed"]
    assert looked(paths, 3) == []


def test_a_folder_in_use_stays(paths: Paths) -> None:
    place = paths.results / "training"
    as_workload(place, 'os.mkdir("run")')
    assert looked(paths, 0) == ["run"]
    as_workload(place, 'open("run/a", "wb").close()')
    assert looked(paths, 2) == ["run", "run/a"]
    assert looked(paths, 4) == []


def test_what_cannot_be_removed_keeps_nothing_else(paths: Paths) -> None:
    """In its volume and in others; it is told."""
    place, other = paths.results / "training", paths.results / "brief"
    as_workload(place, 'os.mkdir("a"); open("a/kept", "wb").close(); open("b", "wb").close()')
    as_workload(other, 'open("c", "wb").close()')
    looked(paths, 0)
    run(["chattr", "+i", str(place / "a/kept")])
    try:
        for plans in (PLANS, dict(reversed(PLANS.items()))):
            with pytest.raises(OperationError, match="training cannot be removed: Operation not permitted"):
                forget_results(paths.results, plans, START + 3 * DAY_S)
        assert (there(place), there(other)) == (["a", "a/kept"], [])
    finally:
        run(["chattr", "-i", str(place / "a/kept")])
    assert looked(paths, 3) == []


def test_days_of_none_are_one(paths: Paths) -> None:
    place = paths.results / "brief"
    as_workload(place, 'open("a", "wb").close()')
    forget_results(paths.results, PLANS, START)
    forget_results(paths.results, PLANS, START + DAY_S - 1)
    assert there(place) == ["a"]
    forget_results(paths.results, PLANS, START + DAY_S)
    assert there(place) == []


def test_a_workload_neither_sees_nor_sets_the_date(paths: Paths) -> None:
    place = paths.results / "training"
    as_workload(place, 'open("a", "wb").close()')
    looked(paths, 0)
    assert as_workload(
        place,
        f"""
print(os.listxattr("a"))
for act in (lambda: os.setxattr("a", "{SINCE}", b"9999999999 0"), lambda: os.removexattr("a", "{SINCE}")):
    try:
        act()
    except OSError as error:
        print(error.strerror)
""",
    ).splitlines() == ["[]", "Operation not permitted", "Operation not permitted"]
    assert looked(paths, 2) == []


def test_a_full_volume_has_room_for_dates_and_what_cannot_be_dated_goes_at_once(paths: Paths) -> None:
    """A workload can take the room for dates that a file has in itself."""
    place = paths.results / "training"
    as_workload(place, 'open("a", "wb").close(); os.setxattr("a", "user.x", bytes(40)); open("b", "wb").close()')
    (place / "of root").touch()
    as_workload(place, FILL)
    with (place / "of root").open("wb", buffering=0) as file, suppress(OSError):  # what ext4 keeps for root
        while True:
            file.write(bytes(1024))
    assert looked(paths, 0) == ["b", "filling", "of root"]
    assert looked(paths, 2) == []


@pytest.mark.parametrize("call", ["setxattr", "getxattr"])
def test_what_a_failing_disk_keeps_from_being_dated_stays_and_is_told(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """No disk fails here when asked to: its error stands in for it. Nothing else waits."""
    place, real = paths.results / "training", getattr(os, call)
    as_workload(place, 'open("old", "wb").close()')
    looked(paths, 0)
    as_workload(place, 'open("a", "wb").close(); open("b", "wb").close()')

    def fails(path: Path, *rest: object, **more: object) -> object:
        if path.name == "a":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *rest, **more)

    with monkeypatch.context() as failing:
        failing.setattr(os, call, fails)
        for days in (0, 2):
            with pytest.raises(OperationError, match="training cannot be removed: Input/output error"):
                looked(paths, days)
    assert there(place) == ["a"]
    assert looked(paths, 2) == ["a"]
    assert looked(paths, 4) == []


def test_a_place_without_a_volume_is_left_alone(paths: Paths) -> None:
    other = paths.results / "other"
    other.mkdir()
    (other / "a").touch()
    for days in (0, 10):
        forget_results(paths.results, {"other": ResultsPlan(mib=4, days=0)}, START + days * DAY_S)
    assert (other / "a").exists()


class Systemd:
    """Stands where programs are run; there is no systemd here."""

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.refuses = False

    def __call__(self, argv: list[str], **_: object) -> str:
        assert argv[:2] == ["systemctl", "stop"]
        if self.refuses:
            raise ToolError("systemctl", 1, "refused")
        self.stopped.append(argv[2])
        return ""


def test_an_adapter_is_served_no_longer_than_its_days(paths: Paths) -> None:
    """As old as the file that it was made of; that a workload has changed this meanwhile makes it no younger."""
    plans = ReleaseWorkloads(
        version=1,
        workloads={},
        adapters={"tuned": AdapterPlan(domain="training", base="medical", days=2)},
        results=PLANS,
    )
    paths.workload_plans.parent.mkdir(parents=True)
    paths.workload_plans.write_bytes(document_bytes(plans))
    source, served = paths.results / "training/tuned.gguf", paths.payloads / "tuned/adapter.gguf"
    environment = paths.engine_environments / "tuned"
    as_workload(source.parent, 'open("tuned.gguf", "wb").write(b"GGUF")')
    looked(paths, 0)
    model = PayloadStatus(
        payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN
    )
    assert [one.payload_id for one in lay_out_adapters(paths, files_of(paths.domain_files), [model], plans, print)] == [
        "tuned"
    ]
    environment.parent.mkdir()
    environment.touch()
    systemd = Systemd()
    service = VolumeService(paths, systemd)
    as_workload(source.parent, 'open("tuned.gguf", "wb").write(b"another")')
    assert service.forget(START + DAY_S) == ()
    assert (systemd.stopped, served.exists(), environment.exists()) == ([], True, True)
    systemd.refuses = True
    with pytest.raises(OperationError, match="systemctl failed"):
        service.forget(START + 2 * DAY_S)
    systemd.refuses = False
    assert service.forget(START + 2 * DAY_S) == ("tuned",)
    assert systemd.stopped == ["sealwright-engine@tuned.service"]
    assert (source.exists(), served.exists(), environment.exists()) == (True, False, False)
    assert service.forget(START + 3 * DAY_S) == ()
    assert not source.exists()


def test_what_was_made_of_a_result_goes_with_it_and_is_not_made_again(paths: Paths) -> None:
    """By the calendar of the first, whenever the box was started; the same look takes both."""
    results = {"training": ResultsPlan(mib=4, days=2, adapters=("tuned",))}
    plans = ReleaseWorkloads(version=1, workloads={}, results=results)
    source, files = paths.results / "training/tuned.gguf", files_of(paths.domain_files)
    as_workload(source.parent, 'open("tuned.gguf", "wb").write(b"GGUF")')
    looked(paths, 0)
    keep_made_files(paths, files, plans, {"training": text_of("training")}, now=START, say=print)
    (made,) = files.placed()
    assert files.seen(made) == START
    as_workload(source.parent, 'open("tuned.gguf", "wb").write(b"another")')
    keep_made_files(paths, files, plans, {"training": text_of("training")}, now=START, say=print)
    later = [one for one in files.placed() if one.folder != made.folder]
    assert [files.seen(one) for one in later] == [None]  # not looked at since it was changed


def test_an_adapter_that_came_is_as_old_as_its_file(paths: Paths) -> None:
    files, digest = files_of(paths.domain_files), hashlib.sha256(b"GGUF").hexdigest()
    name = made_name("tuned", FileKind.ADAPTER, digest)
    lay_in(files, "training", name, b"GGUF", kind=FileKind.ADAPTER, flow_id="0a" * 16)
    (came,) = files.placed()
    files.since(came, START)
    plans = ReleaseWorkloads(
        version=1, workloads={}, adapters={"tuned": AdapterPlan(domain="training", base="medical", days=2)}
    )
    paths.workload_plans.parent.mkdir(parents=True)
    paths.workload_plans.write_bytes(document_bytes(plans))
    model = PayloadStatus(
        payload_id="medical", kind="model", domain="medical", file_name="model.gguf", state=PayloadState.OPEN
    )
    assert [one.payload_id for one in lay_out_adapters(paths, files, [model], plans, print)] == ["tuned"]
    service = VolumeService(paths, Systemd())
    assert service.forget(START + DAY_S) == ()
    assert service.forget(START + 2 * DAY_S) == ("tuned",)
    assert not (paths.payloads / "tuned/adapter.gguf").exists()


def test_an_adapter_that_cannot_be_dated_is_told_and_served_on(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = ReleaseWorkloads(
        version=1, workloads={}, adapters={"tuned": AdapterPlan(domain="training", base="medical", days=2)}
    )
    paths.workload_plans.parent.mkdir(parents=True)
    paths.workload_plans.write_bytes(document_bytes(plans))
    served = paths.payloads / "tuned/adapter.gguf"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"GGUF")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    systemd = Systemd()
    with monkeypatch.context() as failing:
        failing.setattr(os, "setxattr", fails)
        with pytest.raises(OperationError, match="Adapter tuned cannot be dated: Input/output error"):
            VolumeService(paths, systemd).forget(START)
    assert (systemd.stopped, served.exists()) == ([], True)
    assert VolumeService(paths, systemd).forget(START) == ()
    assert VolumeService(paths, systemd).forget(START + 2 * DAY_S) == ("tuned",)


def test_that_an_adapter_is_closed_is_told_though_results_cannot_be_removed(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would tell the agent; what failed is told at the next look."""
    plans = ReleaseWorkloads(
        version=1,
        workloads={},
        adapters={"tuned": AdapterPlan(domain="training", base="medical", days=2)},
        results=PLANS,
    )
    paths.workload_plans.parent.mkdir(parents=True)
    paths.workload_plans.write_bytes(document_bytes(plans))
    served = paths.payloads / "tuned/adapter.gguf"
    served.parent.mkdir(parents=True)
    served.write_bytes(b"GGUF")
    service = VolumeService(paths, Systemd())
    service.forget(START)

    def refuse(*_: object) -> None:
        raise OperationError("the disk refuses")

    monkeypatch.setattr(volume_service, "forget_results", refuse)
    assert service.forget(START + 2 * DAY_S) == ("tuned",)
    with pytest.raises(OperationError, match="the disk refuses"):
        service.forget(START + 2 * DAY_S)
