"""``sealwright-policy diff``: what became wider and what narrower between two versions of domains."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sealwright_policies.cli_command import add_command
from sealwright_policies.domains.difference import Change, Direction, compare
from sealwright_policies.domains.files import by_name, load_domain, load_folder
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.errors import UsageError

DESCRIPTION = """\
Compare two versions of a domain, or of a folder of domains: what permits more than before (wider), what less
(narrower), what changed otherwise. Comments, order and spelling make no difference. The files are compared, not
judged; see check.
"""
EPILOG = """\
examples:
  sealwright-policy diff old/medical-model.toml new/medical-model.toml
  sealwright-policy diff release-1.0/domains release-1.1/domains
  sealwright-policy diff old new --json | jq 'any(.changes[]; .direction == "wider" or .direction == "added")'
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "diff",
        help_="tell what became wider and what narrower between two versions of domains",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="domain file, or folder of domain files")
    parser.add_argument("new", type=Path, metavar="NEW", help="the same, later")
    parser.add_argument("--json", action="store_true", help="print JSON: changes")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare and print."""
    changes = _changes(options.old, options.new)
    if options.json:
        print(json.dumps({"changes": [one.as_dict() for one in changes]}, indent=2))
    else:
        print("\n".join(_line(one) for one in changes) or "no difference.")
    return 0


def _line(change: Change) -> str:
    return f"{change.direction.value:8} {change.domain}: {change.key}: {change.sentence} ({change.place})"


def _changes(old: Path, new: Path) -> list[Change]:
    if old.is_dir() != new.is_dir():
        raise UsageError("compare two files or two folders")
    if not old.is_dir():
        return list(compare(load_domain(old), load_domain(new)))
    before, after = by_name(load_folder(old)), by_name(load_folder(new))
    changes = [_whole(after[name], Direction.ADDED) for name in sorted(set(after) - set(before))]
    changes += [_whole(before[name], Direction.REMOVED) for name in sorted(set(before) - set(after))]
    return changes + [
        change for name in sorted(set(before) & set(after)) for change in compare(before[name], after[name])
    ]


def _whole(source: DomainFile, direction: Direction) -> Change:
    return Change(source.domain.name, direction, "name", f"the domain is {direction.value}", source.place(("name",)))
