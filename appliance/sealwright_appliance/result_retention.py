"""What workloads have written goes when its domain's days are over (policies/spec/domain-flow.md, 11).

By the calendar of :mod:`.flows.retention`, which the agent keeps; :mod:`.volume_service` does it, as root. A file
counts from the look that found it new or changed. That date lies in an attribute of the file (``trusted``, xattr(7)),
which no workload can see or set. Names are the workload's: none is told, and there is no record of what went.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from sealwright_appliance.files import remove_durably
from sealwright_appliance.result_volumes import aside, days_aside, kept_text
from sealwright_appliance.retention_days import days_are_over
from sealwright_policies.errors import OperationError
from sealwright_policies.workloads import ResultsPlan

SINCE = "trusted.sealwright.since"
"""Two decimal numbers: seconds of the calendar, and the file's time of change in nanoseconds as it was then."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.E2BIG)
UNDATED = (errno.ENODATA, errno.EOPNOTSUPP)


def forget_results(folder: Path, plans: Mapping[str, ResultsPlan], now: int) -> None:
    """Remove what is over from every volume that is mounted.

    Args:
        folder: with a place for each domain.
        plans: of the domains.
        now: of the calendar, seconds.

    Raises:
        OperationError: a disk refuses something; all else was looked at, and the next look tries it again.
    """
    failures: list[str] = []
    for domain, plan in plans.items():
        place = folder / domain
        if os.path.ismount(place) and (failed := _forget(place, plan.days, now)):
            failures.append(f"Results of domain {domain} cannot be removed: {failed[0].strerror}.")
    if failures:
        raise OperationError(failures[0])


def forget_closed(folder: Path, plans: Mapping[str, ResultsPlan], now: int) -> None:
    """Remove volumes that were set aside and are over, each whole: their days count from the look that found them so.

    Args:
        folder: of all volumes.
        plans: of the domains; the days of the text under which a volume was written hold as well.
        now: of the calendar, seconds.

    Raises:
        OperationError: a disk refuses something; all else was looked at, and the next look tries it again.
    """
    failures: list[OperationError] = []
    for domain, volume, text in aside(folder):
        days = days_aside(kept_text(text), plans[domain].days if domain in plans else None)
        try:
            if days is not None and is_over(volume, days, now):
                remove_durably(volume)
                remove_durably(text)
        except OperationError as error:
            failures.append(error)
        except OSError as error:
            failures.append(OperationError(f"{volume} cannot be dated: {error.strerror}."))
    if failures:
        raise failures[0]


def is_over(path: Path, days: int, now: int) -> bool:
    """Whether the days of a file are over; one that is new or changed is dated.

    Raises:
        FileNotFoundError: a workload has removed it meanwhile.
        OSError: it cannot be dated, or its date cannot be read.
    """
    is_folder = path.is_dir() and not path.is_symlink()
    changed = 0 if is_folder else path.lstat().st_mtime_ns  # what goes from a folder makes it no newer
    dated = _date(path)
    if dated is None or dated[1] != changed:
        os.setxattr(path, SINCE, f"{now} {changed}".encode("ascii"), follow_symlinks=False)
        return False
    return days_are_over(dated[0], now, days)


def since(path: Path) -> int | None:
    """The date of a file as it is; None if it is new or changed."""
    dated = _date(path)
    return dated[0] if dated is not None and dated[1] == path.lstat().st_mtime_ns else None


def put_date(copy: Path, at: int | None) -> None:
    """Let a copy be as old as what it was made of; one without a date is as new as its first look."""
    if at is not None:
        os.setxattr(copy, SINCE, f"{at} {copy.lstat().st_mtime_ns}".encode("ascii"))


def _forget(place: Path, days: int, now: int) -> list[OSError]:
    """What the disk has refused; all else is done."""
    refused: list[OSError] = []
    for folder, folders, names in os.walk(place, topdown=False, onerror=refused.append):
        here = Path(folder)
        for path in (*(here / name for name in names), *(here / name for name in folders)):
            try:
                if _is_over_in_volume(path, days, now):
                    _remove(path)
            except OSError as error:
                refused.append(error)
    return [one for one in refused if not isinstance(one, FileNotFoundError)]  # a workload has removed it meanwhile


def _is_over_in_volume(path: Path, days: int, now: int) -> bool:
    """The same where a workload can take the room for dates: what has none is over."""
    try:
        return is_over(path, days, now)
    except OSError as error:
        if error.errno in NO_ROOM:
            return True
        raise


def _remove(path: Path) -> None:
    """Remove a file, or a folder once nothing is in it any more."""
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    try:
        path.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _date(path: Path) -> tuple[int, int] | None:
    """When a file was dated, and its time of change then; None if it never was."""
    try:
        at, _, changed = os.getxattr(path, SINCE, follow_symlinks=False).partition(b" ")
        return int(at), int(changed)
    except OSError as error:
        if error.errno in UNDATED:
            return None
        raise
    except ValueError:
        return None
