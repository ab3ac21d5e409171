"""``sealwright-policy schema``: the reference of the domain file, made from the model."""

from __future__ import annotations

import argparse

from sealwright_policies.cli_command import add_command
from sealwright_policies.domains.reference import json_schema, markdown

DESCRIPTION = "Print the JSON Schema of the domain file, for editors, or its reference as it stands in docs/domains.md."
EPILOG = """\
examples:
  sealwright-policy schema > docs/domain.schema.json
  sealwright-policy schema --markdown
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "schema",
        help_="print the schema of the domain file",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--markdown", action="store_true", help="print tables in Markdown")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print it."""
    print(markdown() if options.markdown else json_schema(), end="")
    return 0
