"""What two boot logs show, remembered: a box renews many times in one boot, and sends the same logs each time.

Reading, replaying and judging logs hangs on nothing but the logs and the release, so doing it again gives the same; it
is a third of a whole decision. Only logs with which nothing is wrong are remembered. What is not: that a quote is over
them, which the appraisal asks of each evidence.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.appraisal.release import Release
from sealwright_policies.appraisal.result import BootSummary

MOST_KNOWN = 2048
"""Boots; each takes some 5 KiB. The one unused for longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a firmware's log and systemd's show under a release, whoever vouches for them."""

    firmware: Mapping[int, bytes] | None
    """PCR values that the firmware's log leads to; None if it has no SHA-256 bank."""
    running: Mapping[int, bytes]
    """PCR values that both logs lead to."""
    mismatches: tuple[Mismatch, ...]
    summary: BootSummary
    digest: bytes
    """Of both logs (:mod:`.boot_logs`); empty with mismatches."""


class KnownBoots:
    """Boots by what was sent, for the very release that they were judged by. Safe to use from several threads."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: OrderedDict[tuple[bytes, bytes], tuple[Release, Boot]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, boot_log: bytes, userspace_log: bytes, release: Release) -> Boot | None:
        """The boot of these two logs, if it is known."""
        key = _key(boot_log, userspace_log)
        with self._lock:
            judged_by, boot = self._known.get(key, (None, None))
            # The same object: a release of the same id may have been given further ways through PCR 4, or lost them.
            if boot is None or judged_by is not release:
                return None
            self._known.move_to_end(key)
            return boot

    def keep(self, boot_log: bytes, userspace_log: bytes, release: Release, boot: Boot) -> None:
        """Remember a boot, unless something is wrong with it."""
        if boot.mismatches or boot.firmware is None:
            return
        key = _key(boot_log, userspace_log)
        with self._lock:
            self._known[key] = (release, boot)
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()


def _key(boot_log: bytes, userspace_log: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(boot_log).digest(), hashlib.sha256(userspace_log).digest()
