"""What the commands have in common: their arguments, and how results and times are printed."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sealwright_policies.terminal import terminal_text

Commands = Any
"""argparse's subparsers action, whose type is private."""
HELP_WIDTH = 80


def add_command(
    commands: Commands,
    name: str,
    action: Callable[[argparse.Namespace], None],
    *,
    help_: str,
    example: str,
    more: str = "",
    fingerprint_needed: bool = True,
) -> argparse.ArgumentParser:
    """A command that talks to one box and can print JSON.

    Args:
        more: whole sentences for its own help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=textwrap.fill(f"{help_[0].upper()}{help_[1:]}. {more}", HELP_WIDTH),
        epilog=f"example:\n{example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="https://HOST:PORT of the box")
    parser.add_argument(
        "--fingerprint",
        required=fingerprint_needed,
        metavar="SHA256",
        help="of the box's certificate, as on its console; or @FILE, as verify --pin writes it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=action)
    return parser


def print_result(arguments: argparse.Namespace, document: Mapping[str, Any], lines: Sequence[str]) -> None:
    """The document where ``--json`` asks for it, else the lines."""
    print(json.dumps(document, indent=2) if arguments.json else shown(lines))


def shown(lines: Sequence[str]) -> str:
    """Lines as a terminal shows them: what a vendor or a box says moves no cursor and turns no text around."""
    return "\n".join(terminal_text(line.replace("\n", " ")) for line in lines)


def moment(seconds: object) -> str:
    """Seconds since 1970, as a box says them: the minute in UTC."""
    if isinstance(seconds, int):
        try:
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
        except (ValueError, OverflowError, OSError):
            pass
    return f"unknown ({seconds})"


def distance(seconds: object, now: int) -> str:
    """How far away that is, in whole days, hours or minutes."""
    away = seconds - now if isinstance(seconds, int) else 0
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        count = abs(away) // size
        if count:
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"in {words}" if away > 0 else f"{words} ago"
    return "now"
