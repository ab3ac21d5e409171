"""What unlocking leaves to the agent's user."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

from sealwright_appliance.agent_user import give_to_adapter_service, give_to_agent, give_to_document_service
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose owner or group is changed; only root could."""
    changed: list[Path] = []
    monkeypatch.setattr(shutil, "chown", lambda path, user=None, group=None: changed.append(Path(path)))
    return changed


def unlocked(root: Path) -> Paths:
    paths = Paths(root=root, agent_user=pwd.getpwuid(os.getuid()).pw_name)
    for file in (paths.claim, paths.leases / "1.jws", paths.boot_result, paths.firmware_log, paths.userspace_log):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return paths


def test_the_state_volume_the_result_and_the_logs_are_the_agents(tmp_path: Path, given: list[Path]) -> None:
    """On the volume everything, whoever made it: unlocking writes to it as root at each boot."""
    paths = unlocked(tmp_path)
    give_to_agent(paths)
    volume = [paths.state, paths.claim, paths.leases, paths.leases / "1.jws"]
    assert set(given) == {*volume, paths.boot_result, paths.firmware_log, paths.userspace_log}


def test_the_folder_of_domains_stays_roots_and_what_is_in_it_is_the_agents(tmp_path: Path) -> None:
    """Who has got into the agent puts no domain in the place of another; the key of the seals is nobody else's."""
    paths = unlocked(tmp_path)
    agent = paths.agent_user
    held = paths.domain_files / "records/data-set/rows/content"
    held.parent.mkdir(parents=True)
    held.touch()
    paths.domain_seal_key.touch(mode=0o600)
    changed: list[tuple[Path, object, object]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "chown", lambda path, user=None, group=None: changed.append((Path(path), user, group)))
        give_to_agent(paths)
    given = {path: (user, group) for path, user, group in changed}
    assert given[paths.domain_files] == (os.getuid(), agent)
    assert stat.S_IMODE(paths.domain_files.stat().st_mode) == 0o750
    assert given[paths.domain_seal_key] == given[paths.domain_files / "records"] == given[held] == (agent, agent)


def test_the_record_is_the_agents_under_a_name_of_its_own(tmp_path: Path, given: list[Path]) -> None:
    """A device node of the same device for one user, whatever the disk is called; one that lay there before goes."""
    paths = unlocked(tmp_path)
    partition, node = paths.partition("binding"), paths.agents_binding
    partition.parent.mkdir(parents=True)
    os.mknod(partition.parent / "vda4", stat.S_IFBLK | 0o660, os.makedev(254, 4))
    partition.symlink_to("vda4")
    node.write_text("something else")
    give_to_agent(paths)
    made = node.lstat()
    assert (stat.S_ISBLK(made.st_mode), made.st_rdev, stat.S_IMODE(made.st_mode)) == (True, os.makedev(254, 4), 0o600)
    assert node in given


def test_a_box_without_that_partition_has_none_to_give(tmp_path: Path, given: list[Path]) -> None:
    paths = unlocked(tmp_path)
    give_to_agent(paths)
    assert paths.agents_binding not in given


def test_no_link_is_followed_off_the_volume(tmp_path: Path, given: list[Path]) -> None:
    """Its owner has the recovery key, and can lay one there on another machine."""
    paths = unlocked(tmp_path)
    (paths.state / "link").symlink_to("/etc/passwd")
    (paths.state / "folder").symlink_to("/etc")
    give_to_agent(paths)
    assert not [path for path in given if path.is_symlink() or "etc" in path.parts]


def test_a_box_without_logs_has_none_to_give(tmp_path: Path, given: list[Path]) -> None:
    paths = unlocked(tmp_path)
    paths.userspace_log.unlink()
    paths.firmware_log.unlink()
    give_to_agent(paths)


def test_a_user_that_is_missing_is_named(tmp_path: Path) -> None:
    paths = unlocked(tmp_path)
    with pytest.raises(OperationError, match="no-such-user does not exist"):
        give_to_agent(Paths(root=paths.root, agent_user="no-such-user"))


def test_documents_are_their_services_and_no_longer_the_agents(tmp_path: Path, given: list[Path]) -> None:
    """Made once there are API keys; a link in its place leads nowhere."""
    paths = dataclasses.replace(unlocked(tmp_path), documents_user=pwd.getpwuid(os.getuid()).pw_name)
    give_to_document_service(paths)
    assert not paths.documents.exists()
    paths.api_keys.touch()
    paths.documents.touch()
    give_to_document_service(paths)
    assert given == []
    paths.documents.unlink()
    paths.documents.symlink_to("/etc")
    give_to_document_service(paths)
    assert stat.S_IMODE(paths.documents.lstat().st_mode) == 0o700
    (paths.documents / "documents.sqlite").touch()
    given.clear()
    give_to_agent(paths)
    assert not [path for path in given if paths.documents in (path, *path.parents)]
    given.clear()
    give_to_document_service(paths)
    assert set(given) == {paths.documents, paths.documents / "documents.sqlite"}


def test_adapters_are_their_services_below_folders_that_stay_roots(tmp_path: Path, given: list[Path]) -> None:
    """Else whoever keeps adapters could have another folder of the volume bound into an engine."""
    paths = dataclasses.replace(unlocked(tmp_path), adapters_user=pwd.getpwuid(os.getuid()).pw_name)
    give_to_adapter_service(paths, ["own"])
    assert not paths.adapters.exists()  # nobody can bring examples yet
    paths.api_keys.touch()
    give_to_adapter_service(paths, [])
    assert not paths.adapters.exists()  # no domain lets any be trained
    given.clear()
    before = os.umask(0o077)  # unlocking's
    try:
        give_to_adapter_service(paths, ["own"])
    finally:
        os.umask(before)
    served = paths.served_adapters("own")
    assert [stat.S_IMODE(one.stat().st_mode) for one in (paths.adapters, served.parent)] == [0o755, 0o755]
    assert set(given) == {paths.adapters / "kept", served}
    assert (stat.S_IMODE((paths.adapters / "kept").stat().st_mode), stat.S_IMODE(served.stat().st_mode)) == (
        0o700,
        0o755,
    )
    (served / "adapter").touch()
    given.clear()
    give_to_agent(paths)
    assert not [path for path in given if paths.adapters in (path, *path.parents)]


def test_no_link_in_the_place_of_an_adapters_folder_is_followed(tmp_path: Path, given: list[Path]) -> None:
    paths = dataclasses.replace(unlocked(tmp_path), adapters_user=pwd.getpwuid(os.getuid()).pw_name)
    paths.api_keys.touch()
    paths.served_adapters("own").parent.mkdir(parents=True)
    paths.served_adapters("own").symlink_to(paths.leases)
    give_to_adapter_service(paths, ["own"])
    assert not paths.served_adapters("own").is_symlink()
    assert paths.leases not in given
