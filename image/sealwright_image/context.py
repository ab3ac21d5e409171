"""The state of one run: where it works and with what. Intent is :class:`sealwright_image.config.Config`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.progress import Progress
from sealwright_image.run import Tools
from sealwright_policies.errors import UsageError

DEFAULT_EPOCH = 1_767_225_600
"""2026-01-01: the time in file systems, packages and signatures unless SOURCE_DATE_EPOCH says another. Fixed, because
the OS part must come out the same on every build host and day."""


@dataclass(frozen=True, slots=True)
class Context:
    """Passed down to every step."""

    cache: Path
    """``$XDG_CACHE_HOME/sealwright``: survives the run."""
    work: Path
    """Scratch folder of this run, on the output's file system; removed at the end."""
    tools: Tools
    progress: Progress
    epoch: int
    """Seconds since the epoch, for everything that carries a time (SOURCE_DATE_EPOCH)."""


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where products of long steps are kept."""
    home = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "/root")) / ".cache")
    return Path(home) / "sealwright"


def build_epoch(environment: Mapping[str, str]) -> int:
    """SOURCE_DATE_EPOCH, or the fixed default.

    Raises:
        UsageError: the variable is not a number of seconds.
    """
    text = environment.get("SOURCE_DATE_EPOCH")
    if text is None:
        return DEFAULT_EPOCH
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}; it must be whole seconds since 1970.")
    return int(text)


def make_context(work: Path, progress: Progress) -> Context:
    """Context of a run in this process's environment; the one place of the build where it is read."""
    return Context(
        cache=cache_directory(os.environ), work=work, tools=Tools(), progress=progress, epoch=build_epoch(os.environ)
    )
