"""How a box mounts the payloads of its release (policies/spec/domain.md, 7).

``sealwright-image build`` puts the document at :data:`MOUNTS_FILE` in the root, where it is measured with everything
else. What it does not name is not opened.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sealwright_policies.wire.encoding import Document, Identifier, parse_json

MOUNTS_FILE = "/usr/share/sealwright/mounts.json"
MOUNTS_LIMIT = 64 * 1024
"""Bytes of the longest document."""
MOST = 256
"""Payloads."""


class MountOption(StrEnum):
    """What the kernel refuses on a file system (mount(8))."""

    READ_ONLY = "ro"
    NO_DEVICES = "nodev"
    NO_SETUID = "nosuid"
    NO_PROGRAMS = "noexec"
    NO_LINKS = "nosymfollow"


class ReleaseMounts(Document):
    """``mounts.json``."""

    version: Annotated[int, Field(ge=1, le=1)]
    options: Annotated[
        dict[Identifier, Annotated[tuple[MountOption, ...], Field(max_length=8)]], Field(max_length=MOST)
    ]
    """By payload id."""


NO_MOUNTS = ReleaseMounts(version=1, options={})


def parse_mounts(content: bytes) -> ReleaseMounts:
    """Parse ``mounts.json``.

    Raises:
        FormatError: it is malformed.
    """
    return parse_json(ReleaseMounts, content, limit=MOUNTS_LIMIT)
