"""Conversations on the state volume, sealed by the gateway under the API key of whoever had them: the agent keeps and
removes them, and cannot read them (policies/spec/conversations.md).

    conversations/OWNER/ID    a line of JSON, then what is sealed
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from sealwright_appliance.api_keys import ApiKeyError, ApiKeys
from sealwright_appliance.files import read_file, remove_durably, sync_directory, write_durably
from sealwright_appliance.flows.retention import Failure, attempt, look_regularly
from sealwright_appliance.retention_calendar import kept_calendar
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import KIB, Bytes4K, Document, Identifier, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.lease import DAY_S

OwnerTag = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ConversationId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Models = Annotated[list[Identifier], Field(min_length=1, max_length=16)]
SealedTitle = Annotated[Bytes4K, Field(max_length=512)]

_ID = re.compile(r"[0-9a-f]{32}")
HEAD_LIMIT = 4 * KIB
CONTENT_MOST = 257 * KIB
"""Bytes, sealed; the gateway takes 256 KiB, in another spelling perhaps."""
OF_KEY_MOST = 100
ALL_BYTES_MOST = 256 * KIB * KIB
BLOCK = 4 * KIB
LEFT_FREE = 64 * KIB * KIB
"""Bytes of the volume: leases have to be stored."""
FIRST_LOOK_S = 90.0
"""Behind the first look at files of domains, which moves the calendar on."""


class Head(Document):
    """First line of a file."""

    version: Annotated[int, Field(ge=1, le=1)]
    key: Sha256Hex
    models: Models
    since: Seconds
    title: SealedTitle


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation, but for its content."""

    conversation_id: str
    head: Head
    left_s: int
    """Until it goes."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A conversation as the gateway gives it."""

    conversation_id: str
    models: list[str]
    title: bytes
    content: bytes


@dataclass
class Conversations:
    """All of one box. Safe to use from several threads."""

    folder: Path
    api_keys: ApiKeys
    days: Callable[[], Mapping[str, int]]
    """For how long the domain of each model lets prompts be kept; 0: not at all."""
    calendar: Path
    """Of :mod:`.retention_calendar`, written by :mod:`.flows.retention`."""
    service_time: Callable[[], int]
    """Latest time of which the licence service has told, seconds since the epoch."""
    is_unlocked: Callable[[], bool] = lambda: True
    """Else no model is missed: this start may know less of the release than others."""
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Look until :attr:`stop` is set."""
        look_regularly(self.look, self.stop, FIRST_LOOK_S)

    def look(self) -> None:
        """Remove what no rule keeps any more.

        Raises:
            SealwrightError: keys or domains cannot be read, then the days last longer; or the disk refuses something,
                and all else was done.
        """
        failures: list[Failure] = []
        with self._alone():
            calendar, keys = kept_calendar(self.calendar), {one.sha256 for one in self.api_keys.load().keys}
            for path in list(self._files()):
                attempt(partial(self._look_at, path, keys, calendar.at if calendar else None), failures)
            if failures:
                raise failures[0]

    def of(self, owner: str) -> list[Kept]:
        """What a key has, the latest first; what is over and not yet removed is no more."""
        with self._alone():
            now = self._now()
            paths = [path for path in self._files(owner) if _ID.fullmatch(path.name)]
            heads = [(path.name, _head(path)) for path in sorted(paths, key=lambda one: -one.stat().st_mtime_ns)]
            kept = [Kept(name, head, self._left_s(head, now)) for name, head in heads if head is not None]
            return [one for one in kept if one.left_s > 0]

    def read(self, owner: str, conversation_id: str) -> tuple[Head, bytes]:
        """One of them, with its sealed content.

        Raises:
            ApiKeyError: 404.
        """
        with self._alone():
            content = read_file(self._path(owner, conversation_id), HEAD_LIMIT + CONTENT_MOST)
            head = _parsed(content)
            if content is None or head is None or self._left_s(head, self._now()) <= 0:
                raise _unknown()
            return head, content.partition(b"\n")[2]

    def store(self, owner: str, key: str, sealed: Sealed, *, new: bool) -> Kept:
        """Keep a conversation, in the place of what was kept of it.

        Args:
            owner: the tag of the key.
            key: SHA-256 of the API key.
            sealed: the conversation.
            new: it must not be there yet; else it must.

        Raises:
            ApiKeyError: 403, a domain keeps none, or there is no such key; 404; 409, there is no room.
            OperationError: the disk refuses.
        """
        with self._alone():
            now, path = self._now(), self._path(owner, sealed.conversation_id)
            before = _head(path)
            if (before is None) is not new or (before is not None and self._left_s(before, now) <= 0):
                raise _unknown()
            if key not in {one.sha256 for one in self.api_keys.load().keys}:
                raise ApiKeyError(403, "UNKNOWN_API_KEY", "There is no such API key.")
            since = before.since if before is not None else now
            head = Head(version=1, key=key, models=sorted(sealed.models), since=since, title=sealed.title)
            left_s = self._left_s(head, now)
            if left_s <= 0:
                raise ApiKeyError(403, "PROMPTS_NOT_KEPT", "The domain of a model lets no conversation be kept.")
            whole = document_bytes(head) + b"\n" + sealed.content
            self._require_room(owner, len(whole), new=new)
            _replace(path, whole)
            return Kept(sealed.conversation_id, head, left_s)

    def remove(self, owner: str, conversation_id: str | None = None) -> int:
        """Remove one, or all of a key; how many.

        Raises:
            ApiKeyError: 404, there is no such one.
        """
        with self._alone():
            paths = [path for path in self._files(owner) if conversation_id in (None, path.name)]
            if conversation_id is not None and not paths:
                raise _unknown()
            for path in paths:
                _erase(path)
            return len(paths)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else meanwhile.

        Raises:
            OperationError: the disk refuses.
        """
        with self._lock:
            try:
                yield
            except OSError as error:
                raise OperationError(f"The conversations cannot be reached: {error.strerror}.") from None

    def _look_at(self, path: Path, keys: Collection[str], now: int | None) -> None:
        head = _head(path) if _ID.fullmatch(path.name) else None  # else a power cut came into its writing
        if head is None or head.key not in keys or self._is_over(head, now):
            _erase(path)

    def _is_over(self, head: Head, now: int | None) -> bool:
        """For good, whatever the next start knows. Without a calendar nothing is old."""
        days = self.days()
        known = [days[model] for model in head.models if model in days]
        if len(known) < len(head.models) and self.is_unlocked():
            return True
        return any(one == 0 or (now is not None and now >= head.since + one * DAY_S) for one in known)

    def _left_s(self, head: Head, now: int) -> int:
        days = self.days()
        return head.since + min(days.get(model, 0) for model in head.models) * DAY_S - now

    def _now(self) -> int:
        calendar = kept_calendar(self.calendar)
        return self.service_time() if calendar is None else calendar.at

    def _path(self, owner: str, conversation_id: str) -> Path:
        return self.folder / owner / conversation_id

    def _files(self, owner: str = "*") -> Iterator[Path]:
        """Half-written ones too."""
        return self.folder.glob(f"{owner}/*")

    def _require_room(self, owner: str, size: int, *, new: bool) -> None:
        used = sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in self._files())
        volume = os.statvfs(self.folder.parent)
        if (
            (new and sum(1 for _ in self._files(owner)) >= OF_KEY_MOST)
            or used + size > ALL_BYTES_MOST
            or volume.f_frsize * volume.f_bavail - size < LEFT_FREE
        ):
            raise ApiKeyError(409, "CONVERSATIONS_FULL", "There is no room for a further conversation; delete some.")


def _unknown() -> ApiKeyError:
    return ApiKeyError(404, "UNKNOWN_CONVERSATION", "There is no such conversation.")


def _head(path: Path) -> Head | None:
    """Its first line; None if there is no file, or one that is not whole."""
    try:
        with path.open("rb") as file:
            return _parsed(file.read(HEAD_LIMIT))
    except FileNotFoundError:
        return None


def _parsed(content: bytes | None) -> Head | None:
    line, end, _ = (content or b"").partition(b"\n")
    try:
        return parse_json(Head, line, limit=HEAD_LIMIT) if end else None
    except FormatError:
        return None


def _replace(path: Path, content: bytes) -> None:
    """Write a file, then overwrite what it replaces."""
    try:
        before = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        write_durably(path, content)
        return
    try:
        write_durably(path, content)
        _blank(before)
    finally:
        os.close(before)


def _erase(path: Path) -> None:
    """Overwrite a file, then remove it, and its folder if it was the last one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _blank(descriptor)
    finally:
        os.close(descriptor)
    remove_durably(path)
    if not any(path.parent.iterdir()):
        path.parent.rmdir()
        sync_directory(path.parent.parent)


def _blank(descriptor: int) -> None:
    """Zeros over all of an open file, on the disk."""
    left, at = os.fstat(descriptor).st_size, 0
    while at < left:
        at += os.pwrite(descriptor, bytes(min(left - at, 64 * KIB)), at)
    os.fsync(descriptor)
