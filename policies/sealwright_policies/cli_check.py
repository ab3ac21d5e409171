"""``sealwright-policy check``: are these domains good, alone and along their chains."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sealwright_policies.cli_command import add_command
from sealwright_policies.domains.canonical import domain_digest, summarise
from sealwright_policies.domains.chain import Domains, find_problems, verify_domains
from sealwright_policies.domains.files import load_files
from sealwright_policies.domains.owner_report import ownership
from sealwright_policies.domains.problems import Problem
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.domains.signed_files import load_signed_domain
from sealwright_policies.errors import VerificationError

DESCRIPTION = """\
Judge security domains (policies/spec/domain.md): each by its level and by all domains that it takes data from. A file
is judged with those that it names, which stand beside it; a folder is judged whole. Every problem is told with file,
line and key, and with the line upstream that forbids it. A domain that names its owner's key has to be signed by it, in
NAME.signed.json beside it.
"""
EPILOG = """\
exit codes: 0 good, 10 refused, 2 usage, 30 malformed

examples:
  sealwright-policy check policies/domains
  sealwright-policy check policies/domains/oncology-training.toml
  sealwright-policy check policies/domains --json | jq '.problems[] | .file, .line, .sentence'
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "check",
        help_="judge security domains and their chains",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="domain file, or folder of domain files")
    parser.add_argument("--json", action="store_true", help="print JSON: domains, problems")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge and print."""
    files = load_files(options.path)
    problems = (*find_problems(files), *_unsigned(files))
    domains = None if problems else verify_domains(files)
    if options.json:
        print(json.dumps({"domains": _summaries(domains), "problems": [one.as_dict() for one in problems]}, indent=2))
    else:
        print("\n".join(_told(problems) if domains is None else _lines(domains)))
    if problems:
        raise VerificationError(problems[0].code, str(problems[0]))
    return 0


def _unsigned(files: Sequence[DomainFile]) -> Iterator[Problem]:
    """Where what lies beside a domain is not what its owner has to have signed."""
    for one in files:
        try:
            load_signed_domain(one)
        except VerificationError as error:
            yield from error.details["problems"]


def _told(problems: Sequence[Problem]) -> list[str]:
    return [f"{one.code.value}: {one}" for one in problems]


def _summaries(domains: Domains | None) -> list[dict[str, Any]]:
    if domains is None:
        return []
    return [
        {
            "name": one.domain.name,
            "file": one.file,
            "level": one.domain.level.value,
            "owner": one.domain.owner.kind.value,
            "digest": domain_digest(one.domain).hex(),
            "owner_key_id": whose.key_id,
            "signed_workloads": whose.workloads,
            "upstream": [above.domain.name for above in domains.upstream(one.domain.name)],
        }
        for one in domains
        for whose in [ownership(summarise(one.domain, load_signed_domain(one)))]
    ]


def _lines(domains: Domains) -> list[str]:
    lines = []
    for one in _summaries(domains):
        upstream = f", within {' and '.join(one['upstream'])}" if one["upstream"] else ""
        lines.append(f"{one['name']}: {one['level']}, of the {one['owner']}{upstream}; digest {one['digest'][:16]}")
        if one["owner_key_id"]:
            workloads = ", ".join(f"{name} {image[:16]}" for name, image in one["signed_workloads"].items())
            lines.append(f"  signed by key {one['owner_key_id']}; workloads signed: {workloads or 'none'}")
    number = len(domains.by_name)
    return [*lines, f"good: {number} domain{'s' if number != 1 else ''}."]
