"""Codes and keys that a command needs: a line of standard input each, since other users see a command's arguments."""

from __future__ import annotations

import getpass
import sys

LINE_LIMIT = 1024


def ask_code(what: str) -> str:
    """A code that is good for one use; it is seen while it is typed."""
    if sys.stdin.isatty():
        print(f"{what}: ", end="", file=sys.stderr, flush=True)
    return _line()


def ask_key(what: str) -> str:
    """A key that lasts; nobody sees it while it is typed."""
    return getpass.getpass(f"{what}: ").strip() if sys.stdin.isatty() else _line()


def _line() -> str:
    return sys.stdin.buffer.readline(LINE_LIMIT).decode("ascii", errors="replace").strip()
