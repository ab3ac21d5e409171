"""``sealwright-policy explain``: which rule lets a domain do something."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sealwright_policies.cli_command import add_command
from sealwright_policies.domains.explanation import USAGE, Explanation, explain
from sealwright_policies.domains.files import load_domain, load_verified
from sealwright_policies.errors import RejectionCode, VerificationError

_QUESTIONS = "".join(f"  {verb} {words}\n" for verb, words in USAGE.items())
DESCRIPTION = f"""\
Tell which rule of a domain lets something happen, or that none does; the lines of all domains upstream are named too.
The question is one of

{_QUESTIONS}"""
EPILOG = """\
exit codes: 0 allowed, 10 forbidden, 2 usage, 30 malformed

examples:
  sealwright-policy explain policies/domains/clinic.toml egress documents.clinic.example:443
  sealwright-policy explain policies/domains/oncology-training.toml flow clinic adapter
  sealwright-policy explain policies/domains/oncology-training.toml run lora-training
  sealwright-policy explain policies/domains/medical-model.toml open 1.4 software
  sealwright-policy explain policies/domains/finance-model.toml return logprobs 5 --json | jq .grounds
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "explain",
        help_="tell which rule lets a domain do something",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("domain", type=Path, metavar="DOMAIN", help="domain file; those that it names stand beside it")
    parser.add_argument("verb", metavar="VERB", choices=tuple(USAGE), help=", ".join(USAGE))
    parser.add_argument("words", nargs="*", metavar="WORD", help="the rest of the question")
    parser.add_argument("--json", action="store_true", help="print JSON: question, allowed, grounds, enforced_by")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer and print."""
    domains = load_verified(options.domain)
    name = load_domain(options.domain).domain.name
    answer = explain(domains, name, options.verb, options.words)
    print(json.dumps(_as_json(answer), indent=2) if options.json else "\n".join(_lines(answer)))
    if not answer.allowed:
        first = next(ground for ground in answer.grounds if not ground.allows)
        raise VerificationError(RejectionCode.DOMAIN_FORBIDS, f"{first.place}: {first.key}: {first.sentence}")
    return 0


def _as_json(answer: Explanation) -> dict[str, object]:
    return {
        "question": answer.question,
        "allowed": answer.allowed,
        "grounds": [one.as_dict() for one in answer.grounds],
        "enforced_by": list(answer.enforced_by),
    }


def _lines(answer: Explanation) -> list[str]:
    return [
        f"{'ALLOWED' if answer.allowed else 'FORBIDDEN'}: {answer.question}",
        *(
            f"  {'lets' if one.allows else 'forbids'}: {one.place}: {one.key}: {one.sentence}  [{one.domain}]"
            for one in answer.grounds
        ),
        f"enforced by: {', '.join(answer.enforced_by)}",
    ]
