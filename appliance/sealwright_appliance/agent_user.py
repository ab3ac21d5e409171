"""What :mod:`.unlock` leaves to the agent, which is not root: the state volume, the boot's result and its logs, and the
partition ``binding``.

The profile of the agent names files by their paths, and disks have other names on each machine. So the partition gets a
second device node under a name of ours, and the profile lets the agent open no other disk, whoever it may have become.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError


def give_to_agent(paths: Paths) -> None:
    """Give files to the agent's user; on the state volume all of them, whoever made them, but the results of workloads.

    Raises:
        OperationError: there is no such user, or the disk refuses.
    """
    user = paths.agent_user
    if user is None:
        return
    try:
        for folder, folders, names in os.walk(paths.state):
            if paths.results.name in folders and Path(folder) == paths.state:
                folders.remove(paths.results.name)
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                if not path.is_symlink():
                    shutil.chown(path, user, user)
        shutil.chown(paths.boot_result, user, user)
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


def _make_node(device: Path, node: Path) -> None:
    """Another device node of a block device, for its owner alone."""
    number = device.stat().st_rdev
    node.unlink(missing_ok=True)
    os.mknod(node, stat.S_IFBLK | 0o600, number)
