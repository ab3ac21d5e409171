"""What :mod:`.unlock` leaves to the agent, which is not root: the state volume, the boot's result and its logs, and the
partition ``binding``. The customer's documents on the state volume are left to the document service instead.

The profile of the agent names files by their paths, and disks have other names on each machine. So the partition gets a
second device node under a name of ours, and the profile lets the agent open no other disk, whoever it may have become.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError

SEARCHED = 0o750


def give_to_agent(paths: Paths) -> None:
    """Give files to the agent's user; on the state volume all of them, whoever made them, but the results of
    workloads and the customer's documents. The folder of domains stays root's: the agent moves none of them.

    Raises:
        OperationError: there is no such user, or the disk refuses.
    """
    user = paths.agent_user
    if user is None:
        return
    try:
        _give(paths.state, user, others=(paths.results, paths.documents, paths.adapters, paths.domain_files))
        _give_domains(paths.domain_files, user)
        shutil.chown(paths.boot_result, user, user)
        if paths.domain_seal_key.exists():
            shutil.chown(paths.domain_seal_key, user, user)
        # The kernel's has its group's right to read. systemd sets the mode of its own to 0600 with each measurement.
        with suppress(FileNotFoundError):
            shutil.chown(paths.firmware_log, group=user)
        with suppress(FileNotFoundError):
            shutil.chown(paths.userspace_log, user=user)
        with suppress(FileNotFoundError):  # no such partition: the box is locked, and says so
            _make_node(paths.partition("binding"), paths.agents_binding)
            shutil.chown(paths.agents_binding, user, user)
    except LookupError:
        raise OperationError(f"The user {user} does not exist.") from None
    except OSError as error:
        raise OperationError(f"{error.filename} cannot be given to {user}: {error.strerror}.") from None


def give_to_document_service(paths: Paths) -> None:
    """Give the folder of the customer's documents to its user, and make it once somebody can bring a document.

    A volume on which it cannot be made, since it is full or something else lies there, boots without documents.

    Raises:
        OperationError: there is no such user, or the disk refuses.
    """
    user = paths.documents_user
    if user is None or not paths.api_keys.exists():
        return
    try:
        if paths.documents.is_symlink():
            paths.documents.unlink()
        with suppress(OSError):
            paths.documents.mkdir(mode=0o700)
        if paths.documents.is_dir():
            _give(paths.documents, user)
    except LookupError:
        raise OperationError(f"The user {user} does not exist.") from None
    except OSError as error:
        raise OperationError(f"{error.filename} cannot be given to {user}: {error.strerror}.") from None


def give_to_adapter_service(paths: Paths, members: Collection[str]) -> None:
    """Give the folders of the customer's adapters to their user, and make them once somebody can bring examples.

    The folders above stay root's: what an engine gets to see is bound into its unit by path, and nobody who trains
    or keeps adapters can put another folder there.

    Args:
        members: of domains, whose adapters the customer may have trained.

    Raises:
        OperationError: there is no such user, or the disk refuses.
    """
    user = paths.adapters_user
    if user is None or not members or not paths.api_keys.exists():
        return
    folders = {paths.adapters / "kept": 0o700} | {paths.served_adapters(one): 0o755 for one in members}
    try:
        for folder, mode in folders.items():
            for made in (paths.adapters, folder.parent, folder):
                if made.is_symlink():
                    made.unlink()
                with suppress(FileExistsError):
                    made.mkdir()
                if made.is_dir():
                    made.chmod(0o755)  # also where root's umask says less
            if folder.is_dir():
                _give(folder, user)
                folder.chmod(mode)
    except LookupError:
        raise OperationError(f"The user {user} does not exist.") from None
    except OSError as error:
        raise OperationError(f"{error.filename} cannot be given to {user}: {error.strerror}.") from None


def _give(top: Path, user: str, others: tuple[Path, ...] = ()) -> None:
    """A folder with all that is in it, but for the folders of others; no link is followed."""
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in others]
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            if not path.is_symlink():
                shutil.chown(path, user, user)


def _give_domains(top: Path, user: str) -> None:
    if not top.is_dir() or top.is_symlink():  # of a box that was never unlocked, or somebody's who had the volume
        return
    shutil.chown(top, os.getuid(), user)
    top.chmod(SEARCHED)
    for folder in top.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            _give(folder, user)


def _make_node(device: Path, node: Path) -> None:
    """Another device node of a block device, for its owner alone."""
    number = device.stat().st_rdev
    node.unlink(missing_ok=True)
    os.mknod(node, stat.S_IFBLK | 0o600, number)
