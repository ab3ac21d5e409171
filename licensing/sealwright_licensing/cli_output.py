"""How the commands print: JSON for programs, a few words for people, errors on standard error."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sealwright_custody.locator import KeyLocator, parse_locator
from sealwright_licensing.endorsement import Tier
from sealwright_policies.errors import UsageError
from sealwright_policies.terminal import terminal_text

Commands = Any
"""argparse's subparsers action, whose type is private."""


def add_leaf(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], *, help_: str, example: str
) -> argparse.ArgumentParser:
    """Add a command that works on a service's folder and can print JSON."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder of the licence service")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Commands, name: str, help_: str) -> Commands:
    """Add a command that has commands."""
    return commands.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".").add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )


def print_result(result: object, words: Sequence[str], *, as_json: bool) -> None:
    """Print a result for programs or for people, to whom nothing is printed that steers a terminal.

    Whoever can write the database, names a licence or runs a box chooses some of the words.
    """
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        for line in words:
            print(terminal_text(line))


def print_error(message: str, code: str, *, as_json: bool) -> None:
    """Print an error on standard error."""
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message}}), file=sys.stderr)
    else:
        print(f"sealwright-license: {terminal_text(message)}", file=sys.stderr)


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a table with columns as wide as they must be."""
    texts = [[terminal_text(str(cell)) for cell in row] for row in (titles, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(titles))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]


def tier(text: str) -> Tier:
    """A tier on the command line."""
    try:
        return Tier(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(Tier)}") from None


def locator(text: str) -> KeyLocator:
    """A key's place on the command line."""
    try:
        return parse_locator(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def day(seconds: int) -> str:
    """A time as a UTC day and minute."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")
