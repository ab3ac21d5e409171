"""``--version`` of every program for people: the installed distribution's, as a bug report wants it."""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Sequence
from typing import Any


class _PrintVersion(argparse.Action):
    """Looked up when it is asked for: every other call of the program would wait for it."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, distribution: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version and exit")
        self._distribution = distribution

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{parser.prog} {importlib.metadata.version(self._distribution)}")
        parser.exit()


def add_version(parser: argparse.ArgumentParser, distribution: str) -> None:
    """Give a program's parser ``--version``."""
    parser.add_argument("--version", action=_PrintVersion, distribution=distribution)
