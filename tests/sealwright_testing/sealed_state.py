"""Folders of two domains on a state volume, as a boot opens them."""

from __future__ import annotations

from sealwright_appliance.paths import Paths
from sealwright_appliance.sealed_folders import open_sealed_folders

KEY = bytes(range(64))
"""Of the box."""
DOMAINS = ("clinic", "oncology")


def opened(paths: Paths, key: bytes = KEY) -> list[str]:
    """As at a boot; what was said."""
    lines: list[str] = []
    open_sealed_folders(paths, key, DOMAINS, lines.append)
    return lines
