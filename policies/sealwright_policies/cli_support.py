"""``sealwright-policy support show``: a support bundle in words."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sealwright_policies.cli_command import add_command
from sealwright_policies.cli_files import read_file
from sealwright_policies.support import SUPPORT_LIMIT, parse_support_bundle
from sealwright_policies.support_words import support_lines
from sealwright_policies.terminal import terminal_text

DESCRIPTION = """\
Read a support bundle that an administrator of a box has saved, refuse what is none, and say in words what is in it.
Nothing vouches for a bundle: only evidence proves something about a box.
"""
EPILOG = """\
examples:
  sealwright-policy support show box-support.json
  sealwright-policy support show box-support.json --json | jq .box.boot
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    group = add_command(
        commands, "support", help_="read what a customer has sent of a box in trouble", description=DESCRIPTION,
        epilog=EPILOG,
    ).add_subparsers(metavar="COMMAND", required=True)  # fmt: skip
    parser = add_command(
        group, "show", help_="check a support bundle and print it in words", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="as the box's page or sealwright-box support save it")
    parser.add_argument("--json", action="store_true", help="print it as JSON, once it is known to be one")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read and print."""
    bundle = parse_support_bundle(read_file(options.file, max_size=SUPPORT_LIMIT))
    if options.json:
        print(json.dumps(bundle.model_dump(mode="json"), indent=2))
    else:
        print("\n".join(map(terminal_text, support_lines(bundle))))
    return 0
