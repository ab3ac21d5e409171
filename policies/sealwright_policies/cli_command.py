"""How a command of ``sealwright-policy`` is added to the parser."""

from __future__ import annotations

import argparse


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    help_: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """A parser whose help keeps its lines, and whose options are written out.

    Args:
        epilog: exit codes and examples.
    """
    return commands.add_parser(
        name,
        help=help_,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
